"""Reads the credentials of `docker login` and `podman login`: `config.json`, `auth.json`, and the helpers they name.

As Docker does (cli/config/credentials): a key is a host, with or without a scheme and a path. As podman does
(containers-auth.json(5)): a key is a host or a namespace of it, and the longest that matches counts.
"""

import binascii
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tallyman.adapters.files.reading import read
from tallyman.adapters.oci.auth import Login
from tallyman.domain.images.documents import loads
from tallyman.domain.locations import DOCKER_HUB
from tallyman.domain.names import Location
from tallyman.errors import BadInput

_HUB = "https://index.docker.io/v1/"
_TIMEOUT = 30


class DockerLogins:
    """The login of a repository; None: there is none. Each is looked up once, in `REGISTRY_AUTH_FILE` if that is set,
    then in Docker's files, then in podman's. Raises BadInput for a file that can't be read; a missing one is empty."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._find = cache(self._look)
        self._read, self._ask = cache(_document), cache(self._helped)

    def __call__(self, repository: Location) -> Login | None:
        return self._find(repository)

    def _look(self, repository: Location) -> Login | None:
        for path, podman in self._files():
            document = self._read(path)
            found = self._by_helper(document, repository) or _entry_of(document, repository, podman, path)
            if found:
                return found
        return None

    def _files(self) -> Iterator[tuple[Path, bool]]:
        """The files in the order in which they are read, each with whether it is podman's."""
        environ, home = self._environ, Path(self._environ.get("HOME") or "~").expanduser()
        if named := environ.get("REGISTRY_AUTH_FILE"):
            yield Path(named), True
        yield Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json", False
        if runtime := environ.get("XDG_RUNTIME_DIR"):
            yield Path(runtime) / "containers" / "auth.json", True
        yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json", True

    def _by_helper(self, document: Mapping[str, Any], repository: Location) -> Login | None:
        names = _names(repository)
        helpers = document.get("credHelpers")
        for name in names:
            named = helpers.get(name) if isinstance(helpers, dict) else None
            helper = named or (document.get("credsStore") if name == names[0] else None)
            if helper and (found := self._ask(str(helper), name)):
                return found
        return None

    def _helped(self, helper: str, name: str) -> Login | None:
        if "/" in helper:
            raise BadInput(f"'{helper}' in Docker's config.json is not the name of a credential helper")
        import subprocess  # not above: few have a helper, and every copy would wait for the import

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
            found = loads(done.stdout) if done.returncode == 0 else {}
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            raise BadInput(
                f"the credential helper {command} in Docker's config.json failed: {type(error).__name__}"
            ) from None
        if not isinstance(found, dict) or not found.get("Secret"):
            return None
        if found.get("Username") == "<token>":
            return Login("", refresh=str(found["Secret"]))
        return Login(str(found.get("Username", "")), str(found["Secret"]))


def _names(repository: Location) -> list[str]:
    host = repository.registry.host
    return [_HUB, *DOCKER_HUB] if host.lower() in DOCKER_HUB else [host, f"https://{host}", f"http://{host}"]


def _document(path: Path) -> dict[str, Any]:
    try:
        raw = read(path)
        found = loads(raw) if raw.strip() else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{path} can't be read: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: expected an object")
    return found


def _entry_of(document: Mapping[str, Any], repository: Location, podman: bool, path: Path) -> Login | None:
    auths = document.get("auths")
    if not isinstance(auths, dict):
        return None
    names = _names(repository)
    keys = [name for name in names if name in auths]
    if podman:  # the longest namespace first
        spaces = [f"{host}/{repository.name}" for host in names if "://" not in host]
        inner = [key for key in auths if "/" in key and any(f"{space}/".startswith(f"{key}/") for space in spaces)]
        keys = [*sorted(inner, key=len, reverse=True), *keys]
    keys += [key for key in auths if _host(key) in names and (not podman or "://" in key or "/" not in key)]
    for key in keys:
        if login := _login(auths[key], f"{path}: the auth of {key}"):
            return login
    return None


def _host(key: str) -> str:
    """Docker's ConvertToHostname: without the scheme, up to the first slash."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _login(entry: Any, what: str) -> Login | None:
    if not isinstance(entry, dict):
        return None
    if entry.get("identitytoken"):
        return Login("", refresh=str(entry["identitytoken"]))
    if entry.get("auth"):
        try:  # Go's base64 skips line breaks
            text = str(entry["auth"]).replace("\n", "").replace("\r", "")
            user, colon, password = binascii.a2b_base64(text, strict_mode=True).decode().partition(":")
        except ValueError:  # also what is not ASCII, and what is not UTF-8
            colon = user = password = ""
        if not colon:
            raise BadInput(f"{what} is not base64 of user:password")
        return Login(user, password.strip("\0"))
    if entry.get("username"):
        return Login(str(entry["username"]), str(entry.get("password", "")))
    return None
