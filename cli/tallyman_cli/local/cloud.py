"""Makes and starts a local cloud of this checkout for a command."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallyman.adapters.files.policy_file import load
from tallyman.domain.gates.check import functions_of
from tallyman.errors import BadInput
from tallyman_cli.local.docker_config import docker_config, token
from tallyman_cli.local.exec_command import ELSEWHERE
from tallyman_cli.local.options import ScannerMode

if TYPE_CHECKING:
    from tallyman_local.cloud.cloud import Cloud


def new_cloud(policy: Path | None, scanner: ScannerMode, **options: Any) -> "Cloud":
    """A local cloud of this checkout that is not started yet. Raises BadInput if the policy is not valid, or a package
    is missing."""
    if policy is not None:
        found = load(policy)  # here, because a cloud whose functions all fail would not show the reason
        if not policy.is_file():  # `load` has emptied the pipe; the cloud and its functions read it again
            raise BadInput(f"{policy}: not a file; a local cloud reads its policy several times")
        asked = functions_of(promotion for rule in found.repositories for promotion in rule.promotions)
        options["parameters"] = {"CheckFunctions": ",".join(sorted(set(asked.values())))} if asked else {}
    if os.environ.get("TALLYMAN_LOCAL_VERBOSE"):
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(relativeCreated)d %(message)s")
        logging.getLogger("tallyman.local").setLevel(logging.INFO)
    else:
        logging.getLogger("tallyman.local").addHandler(logging.NullHandler())
        logging.getLogger("tallyman.local").propagate = False
    for name in ELSEWHERE:
        os.environ.pop(name, None)  # moto makes sessions of botocore, which fail on a missing profile
    try:
        import tallyman_local.cloud.cloud as local
    except ModuleNotFoundError as error:
        raise BadInput(
            f"the local cloud is not installed ({error.name} is missing): pip install 'tallyman-ecr[local]'"
        ) from error
    from tallyman_local.cloud.environments import BadPolicy
    from tallyman_local.stack import source

    try:
        chosen = local.Options(scanner=scanner.value, **options)
        return local.Cloud(policy or local.DEMO_POLICY, root=source.root(), options=chosen)
    except (BadPolicy, FileNotFoundError) as error:
        raise BadInput(str(error)) from error


@contextmanager
def running(cloud: "Cloud") -> Iterator[dict[str, str]]:
    """Start the cloud, and stop it after the block. Yields the variables for its clients: its own, and DOCKER_CONFIG
    for a configuration with logins at its registries. Raises BadInput if it can't start."""
    from tallyman_local.cloud.folders import InUse
    from tallyman_local.ecr.rules.quotas import BadQuota
    from tallyman_local.stack.template import BadTemplate

    try:
        cloud.start()
    except (InUse, OSError) as error:
        raise BadInput(f"the local cloud can't start: {error}") from error
    except BadQuota as error:
        raise BadInput(f"--quota {error}") from error
    except BadTemplate as error:
        raise BadInput(f"the stack can't be deployed: {error}") from error
    try:
        variables = cloud.environment()
        with docker_config(cloud.registries.values(), token(variables)) as folder:
            yield variables | {"DOCKER_CONFIG": str(folder)}
    finally:
        cloud.stop()
