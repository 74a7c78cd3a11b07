"""The credentials that `docker login` left: `config.json`, and the helpers that it names."""

import binascii
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tallyman.adapters.oci.auth import Login
from tallyman.errors import BadInput

_HUB = "https://index.docker.io/v1/"
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_TIMEOUT = 30


class DockerLogins:
    """By host, each asked for once. A file that is not there holds nothing; one that can't be read is BadInput."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._find = cache(self._look)

    def __call__(self, host: str) -> Login | None:
        return self._find(host)

    def _look(self, host: str) -> Login | None:
        config = self._config()
        names = (
            [_HUB, "index.docker.io", "docker.io"]
            if host in _HUB_NAMES
            else [host, f"https://{host}", f"http://{host}"]
        )
        helpers = config.get("credHelpers") or {}
        for name in names:
            if helper := helpers.get(name) or (config.get("credsStore") if name == names[0] else None):
                found = self._helped(str(helper), name)
                if found:
                    return found
        for key, entry in (config.get("auths") or {}).items():
            short = key.rstrip("/").removeprefix("https://").removesuffix("/v1").removesuffix("/v2")
            if (key in names or short == host) and (login := _entry(entry, key)):
                return login
        return None

    def _config(self) -> dict[str, Any]:
        folder = self._environ.get("DOCKER_CONFIG") or str(
            Path(self._environ.get("HOME") or "~").expanduser() / ".docker"
        )
        path = Path(folder) / "config.json"
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} can't be read: {error}") from None
        if not isinstance(found, dict):
            raise BadInput(f"{path}: expected an object")
        return found

    def _helped(self, helper: str, name: str) -> Login | None:
        if "/" in helper:
            raise BadInput(f"'{helper}' in Docker's config.json is no name of a credential helper")
        import subprocess  # few have a helper, and every copy would wait for it

        command = f"docker-credential-{helper}"
        try:
            done = subprocess.run(
                [command, "get"],
                input=name.encode(),
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
                env=dict(self._environ),
            )
            found = json.loads(done.stdout) if done.returncode == 0 else {}
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            raise BadInput(f"{command}, which Docker's config.json names, fails: {type(error).__name__}") from None
        if not isinstance(found, dict) or not found.get("Secret"):
            return None
        if found.get("Username") == "<token>":
            return Login("", refresh=str(found["Secret"]))
        return Login(str(found.get("Username", "")), str(found["Secret"]))


def _entry(entry: Any, key: str) -> Login | None:
    if not isinstance(entry, dict):
        return None
    if entry.get("identitytoken"):
        return Login("", refresh=str(entry["identitytoken"]))
    if entry.get("auth"):
        try:
            raw = binascii.a2b_base64(str(entry["auth"]), strict_mode=True)
            user, colon, password = raw.decode().partition(":")
        except ValueError:  # also what is no ASCII, and what is no UTF-8
            colon = user = password = ""
        if not colon:
            raise BadInput(f"Docker's config.json: the auth of {key} is no base64 of user:password")
        return Login(user, password.rstrip("\0"))
    if entry.get("username"):
        return Login(str(entry["username"]), str(entry.get("password", "")))
    return None
