"""`tallyman init`: writes a policy and the stack's parameters, and prints the commands that deploy hub and spokes."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tallyman.adapters.files.policy_file import loads
from tallyman.adapters.files.reading import read, text
from tallyman.domain.names import Digest, EcrRegistry
from tallyman.domain.partitions import partition_of
from tallyman.errors import BadInput
from tallyman_cli.setup.files import POLICY, SAMCONFIG, with_overrides
from tallyman_cli.shared import output
from tallyman_cli.shared.options import option
from tallyman_cli.shared.writing import replace

SHIPPED = "sha256:911073ff7c8d45f627fa71bdd0a87c08ece8a8a601a10cdc1069b1d86e362120"
"""The digest of the policy that comes with Tallyman; replacing it loses nothing."""
_KEPT = "(--to writes elsewhere, --force overwrites)"
_POLICY = """\
# yaml-language-server: $schema=docs/tallyman.schema.json
environments:
  dev:
    registries: [{dev}]
  prod:
    registries: [{prod}]   # all of them or none{renamed}
repositories:
  - match: {parts}   # the builds' cache, and their platform images until they are joined
    create: {{immutable: false, scan_on_push: false}}
    verify: {{layers: presence}}
  - match: {match}
    create: {{immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true{pull}}}
    tags: {{allow: [semver, semver-commit, "main-*", latest]}}
    verify: {{layers: content}}
    promotions:   # an older version is copied and tagged, but not released (with the gate `order`: refused)
      - {{from: dev, to: prod, tags: [{tags}], gates: {{verified: true, scan: {{max: {{critical: 0}}}}}}}}
"""
_SAM = """\
version = 0.1

[default.global.parameters]
stack_name = "tallyman"

[prod.global.parameters]
stack_name = "tallyman"
region = "{region}"

[prod.deploy.parameters]
resolve_s3 = true
s3_prefix = "tallyman"
capabilities = "CAPABILITY_IAM CAPABILITY_NAMED_IAM"
confirm_changeset = true
fail_on_empty_changeset = false
parameter_overrides = "{parameters}"
"""


def init(  # noqa: PLR0913 - each argument is an option of the command
    hub: Annotated[
        EcrRegistry | None,
        option("--hub ACCOUNT/REGION", "The registry of the stack and of dev.", parser=EcrRegistry.parse),
    ] = None,
    prod: Annotated[
        list[EcrRegistry] | None,
        option("--prod ACCOUNT/REGION", "A registry of prod; may be repeated.", parser=EcrRegistry.parse),
    ] = None,
    match: Annotated[str, option("--repositories GLOB", "The repositories that the policy applies to.")] = "*",
    every_push: Annotated[
        bool, option("--main-to-prod", "Promote builds of main to prod automatically; without it, builds of Git tags.")
    ] = False,
    email: Annotated[str, option("--email ADDRESS", "The address that gets notices.")] = "",
    to: Annotated[Path, option("--to FOLDER", "The folder to write the files to.")] = Path(),
    force: Annotated[bool, option("--force", "Overwrite existing files.")] = False,
) -> None:
    """Write a policy and the stack's parameters from your answers or flags, and print the commands that deploy.

    In a checkout of Tallyman, writes what `make deploy ENV=prod` reads: layers/policy/tallyman.yaml, and the parameters
    of prod in samconfig.toml, where everything else stays. In another folder, writes tallyman.yaml and samconfig.toml.
    Without --force, keeps a policy that is not the one that comes with Tallyman, and parameters with other values.

    Exit status: 0 written; 2 a file exists or an answer is invalid.
    """
    hub = hub or EcrRegistry.parse(typer.prompt("The hub, where the stack and dev are (account/region)", err=True))
    if not prod:
        answer = typer.prompt(
            "The registries of prod (account/region, separated by spaces)", default=str(hub), err=True
        )
        prod = [EcrRegistry.parse(word) for word in answer.replace(",", " ").split()]
    policy = policy_text(hub, prod, match, "main-*" if every_push else "semver")
    loads(policy.encode())  # raises here for an invalid glob
    spokes = [registry for registry in prod if registry != hub]
    parameters = _parameters(hub, spokes, email)
    is_checkout = (to / "template.yaml").is_file() and (to / POLICY).is_file()
    files = _checkout(to, policy, parameters, force) if is_checkout else _folder(to, hub, policy, parameters, force)
    to.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        replace(path, content.encode())
        output.say(f"wrote {path}")
    for line in commands(hub, spokes, _deploy(to, is_checkout, parameters)):
        output.line(line)


def _parameters(hub: EcrRegistry, spokes: Sequence[EcrRegistry], email: str) -> dict[str, str]:
    """The parameters of the stack that follow from the answers. Raises BadInput."""
    if email and not re.fullmatch(r"[^\s\"'\\\\,;<>=]+@[^\s\"'\\\\,;<>=@]+", email):
        raise BadInput(f"--email {email}: expected an address such as team@example.com")
    accounts = ",".join(sorted({registry.account for registry in spokes} - {hub.account}))
    return ({"SpokeAccounts": accounts} if accounts else {}) | ({"NoticesEmail": email} if email else {})


def _checkout(to: Path, policy: str, parameters: Mapping[str, str], force: bool) -> dict[Path, str]:
    """What changes in a checkout. Raises BadInput where something of the person's own would be lost."""
    policy_file, sam_file = to / POLICY, to / SAMCONFIG
    try:
        there, sam = read(policy_file), text(sam_file)
    except OSError as error:
        raise BadInput(f"{error.filename} can't be read: {error.strerror}") from error
    if Digest.of(there) != SHIPPED and there != policy.encode() and not force:
        raise BadInput(f"{policy_file}: exists already, and is not the one that comes with Tallyman {_KEPT}")
    changed = with_overrides(sam, "prod", parameters, force)
    return {policy_file: policy} | ({sam_file: changed} if changed != sam else {})


def _folder(to: Path, hub: EcrRegistry, policy: str, parameters: Mapping[str, str], force: bool) -> dict[Path, str]:
    """What is written to a folder of its own. Raises BadInput for files that exist."""
    both = " ".join(f"{name}={value}" for name, value in (dict(parameters) | {"DeletionProtection": "true"}).items())
    files = {
        to / "tallyman.yaml": policy,
        to / SAMCONFIG: _SAM.format(region=hub.region, parameters=both),
    }
    if there := [str(path) for path in files if path.exists() and not force]:
        raise BadInput(f"{', '.join(there)}: exists already {_KEPT}")
    return files


def _deploy(to: Path, is_checkout: bool, parameters: Mapping[str, str]) -> list[str]:
    """The commands that deploy the hub from what was written."""
    if is_checkout:
        return [*([] if to == Path() else [f"cd {shlex.quote(str(to))}"]), "make deploy ENV=prod"]
    added = " ".join(f"{name}={value}" for name, value in parameters.items())
    return [
        f"cp {shlex.quote(str(to / 'tallyman.yaml'))} {POLICY}",
        *([f"# add to parameter_overrides of prod in {SAMCONFIG}: {added}"] if added else []),
        "make deploy ENV=prod",
    ]


def policy_text(hub: EcrRegistry, prod: Sequence[EcrRegistry], match: str, tags: str) -> str:
    """A policy with dev in the hub and prod in these registries. If the hub is one of them, repositories of prod are
    called prod/NAME."""
    others = sorted({r.account for r in prod} - {hub.account})
    return _POLICY.format(
        dev=hub,
        prod=", ".join(map(str, prod)),
        renamed='\n    repository: "prod/{name}"' if hub in prod else "",
        match=f'"{match}"',
        parts=f'"{match}-parts"',
        pull=f", pull: {others}".replace("'", '"') if others else "",
        tags=f'"{tags}"',
    )


def commands(hub: EcrRegistry, spokes: Sequence[EcrRegistry], deploy: Sequence[str]) -> list[str]:
    """The commands to run, in order: for the hub (`deploy`), for each spoke, and to check the deployment."""
    lines = [f"# 1. the hub: credentials of account {hub.account}, region {hub.region}", *deploy]
    bus = f"arn:{partition_of(hub.region).name}:events:{hub.region}:{hub.account}:event-bus/tallyman"
    seen = {hub.account}
    for number, spoke in enumerate(spokes, 2):
        roles = str(spoke.account not in seen).lower()
        seen.add(spoke.account)
        people = "; PeopleRoles=… lets people of the hub in: docs/roles.md" if roles == "true" else ""
        lines += [
            f"# {number}. credentials of account {spoke.account}{people}",
            f"aws cloudformation deploy --template-file spoke.yaml --stack-name tallyman-spoke --region {spoke.region} "
            f"--capabilities CAPABILITY_NAMED_IAM --parameter-overrides HubAccount={hub.account} "
            f"HubRegion={hub.region} HubBusArn={bus} "
            f"CanPush=true CreateRoles={roles}",
        ]
    return [*lines, "# in the end, with credentials of the hub", "tallyman reconcile", "tallyman doctor"]
