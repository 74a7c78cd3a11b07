"""`tallyman policy trust-roots`: the trust roots beside the policy, as Sigstore publishes them now."""

import hashlib
import os
from pathlib import Path
from typing import Annotated

import typer

from tallyman.adapters.files.policy_file import TRUST_ROOTS
from tallyman.adapters.http.client import origin
from tallyman.errors import BadInput, Refused, Unreachable
from tallyman_cli.shared import output

SIGSTORE = "https://tuf-repo-cdn.sigstore.dev"
LARGEST = 1024 * 1024
"""Bytes of a root of a TUF repository."""


def trust_roots(
    root: Annotated[
        Path,
        typer.Option("--root", metavar="FILE", help="A root.json of the TUF repository that you trust already."),
    ],
    mirror: Annotated[str, typer.Option("--mirror", metavar="URL", help="The TUF repository.")] = SIGSTORE,
    to: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The file beside the policy that is written.")
    ] = Path("layers/policy") / TRUST_ROOTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fetch the trust roots that vouch for identities, and write them beside the policy.

    They come from a TUF repository, Sigstore's unless --mirror names another, and are verified from --root on. What was
    fetched before is kept in ~/.cache/tallyman/tuf, so that a repository that goes back to an older state is refused.
    Functions never fetch them: deploy the file with the policy. Needs pip install 'tallyman-ecr[trust-roots]'.

    Exit status: 0 written or unchanged, 1 refused or unreachable (the file stays), 2 bad input.
    """
    raw = fetch(mirror.rstrip("/"), root, _cache())
    from tallyman.adapters.files.signatures import read_roots  # cryptography, which is there by now

    digest, authorities, logs = read_roots(raw)
    old = to.read_bytes() if to.is_file() else None
    if changed := old != raw:
        _write(to, raw)
    if as_json:
        found = {"file": str(to), "digest": digest, "changed": changed, "authorities": authorities, "logs": logs}
        output.data(found)
    else:
        what = "written: deploy it with the policy" if changed else "unchanged"
        output.line(f"{to}: {what} ({authorities} authorities, {logs} logs, {digest})")


def fetch(mirror: str, root: Path, cache: Path) -> bytes:
    """The target trusted_root.json of a TUF repository: `mirror` holds its metadata, and its targets under `targets/`.

    `cache`: where the metadata that was seen last is kept. Raises Refused for what is not signed, expired or older than
    what was seen, Unreachable, and BadInput.
    """
    if not origin(mirror)[2]:
        raise BadInput(f"--mirror {mirror}: expected a URL such as {SIGSTORE}")
    try:
        with root.open("rb") as file:
            trusted = file.read(LARGEST)
    except OSError as error:
        raise BadInput(f"--root {root}: can't be read: {error.strerror or error}") from error
    try:
        from tuf.api import exceptions
        from tuf.ngclient import Updater
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed: pip install 'tallyman-ecr[trust-roots]'") from error
    # of each mirror and root its own: what one has seen says nothing of another
    folder = cache / hashlib.sha256(mirror.encode() + b"\n" + trusted).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        updater = Updater(str(folder), mirror, str(folder), f"{mirror}/targets", bootstrap=trusted)
        updater.refresh()
        info = updater.get_targetinfo(TRUST_ROOTS)
        if info is None:
            raise Refused(f"{mirror} has no {TRUST_ROOTS}")
        return Path(updater.find_cached_target(info) or updater.download_target(info)).read_bytes()
    except exceptions.DownloadError as error:
        raise Unreachable(f"{mirror} can't be read: {error}") from error
    except (exceptions.RepositoryError, ValueError) as error:
        raise Refused(f"{mirror} is not to be trusted: {error}") from error


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tallyman" / "tuf"


def _write(file: Path, raw: bytes) -> None:
    """Whole or not at all."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        fresh.write_bytes(raw)
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise BadInput(f"{file}: can't be written: {error.strerror or error}") from error
