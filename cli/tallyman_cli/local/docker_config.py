"""A Docker configuration for clients of a local cloud: a copy of the person's that is removed with the cloud.

It holds logins for the local registries. `docker login` there leaves nothing in the person's config.json, and nothing
with a credential helper.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tallyman.adapters.files.reading import read

CONFIG = "config.json"


@contextmanager
def docker_config(hosts: Iterable[str], auth: str, environ: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """The folder for DOCKER_CONFIG. Links what else is in the person's folder (plug-ins, contexts, builders).

    `hosts`: registries whose logins are in the copy's file, whatever helper the person uses; `auth`: the login there,
    as Docker writes it.
    """
    own = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "~").expanduser() / ".docker")
    with tempfile.TemporaryDirectory(prefix="tallyman-docker-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for entry in _entries(own):
            if entry.name != CONFIG:
                (folder / entry.name).symlink_to(entry.absolute())
        config = _read(own / CONFIG)
        places = list(hosts)
        config["auths"] = _object(config, "auths") | {host: {"auth": auth} for host in places}
        if config.get("credsStore"):
            # "": these are in this file, not in the store. Only where there is one: docker-py knows no empty helper.
            config["credHelpers"] = _object(config, "credHelpers") | dict.fromkeys(places, "")
        file = folder / CONFIG
        file.touch(mode=0o600)
        file.write_text(json.dumps(config, indent=2))
        yield folder


def token(environment: Mapping[str, str]) -> str:
    """A token of the local cloud, good for all its registries for 12 hours: base64 of `AWS:…`."""
    import botocore.session

    session: Any = botocore.session.get_session()
    client = session.create_client(
        "ecr",
        region_name=environment["AWS_REGION"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=environment.get("AWS_SESSION_TOKEN"),
    )
    return str(client.get_authorization_token()["authorizationData"][0]["authorizationToken"])


def _object(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = config.get(key)
    return found if isinstance(found, dict) else {}


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # there is none, or it is not ours to read
        return []


def _read(file: Path) -> dict[str, Any]:
    """The configuration; empty where there is none that Docker could read either."""
    try:
        found = json.loads(read(file))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
