"""`tallyman policy trust-roots`: fetches the trust roots that Sigstore publishes, to deploy with the policy."""

import hashlib
from pathlib import Path
from typing import Annotated

from tallyman.adapters.files.policy_file import TRUST_ROOTS
from tallyman.adapters.files.reading import read
from tallyman.adapters.http.client import origin
from tallyman.errors import BadInput, Refused, Unreachable
from tallyman_cli.shared import output
from tallyman_cli.shared.caches import cache
from tallyman_cli.shared.options import option
from tallyman_cli.shared.writing import replace

SIGSTORE = "https://tuf-repo-cdn.sigstore.dev"
LARGEST = 1024 * 1024
"""Bytes of a root of a TUF repository."""


def trust_roots(
    root: Annotated[Path, option("--root FILE", "A root.json of the TUF repository that you already trust.")],
    mirror: Annotated[str, option("--mirror URL", "The TUF repository.")] = SIGSTORE,
    to: Annotated[Path, option("--out FILE", "The file to write, beside the policy.")] = Path("layers/policy")
    / TRUST_ROOTS,
    as_json: Annotated[bool, option("--json", "Print JSON.")] = False,
) -> None:
    """Fetch the trust roots that verify identities.

    Writes them beside the policy. They come from a TUF repository, Sigstore's unless --mirror names another, and are
    verified starting from --root. ~/.cache/tallyman/tuf keeps the metadata that was fetched last, so that a repository
    with older metadata is refused. Functions never fetch trust roots: deploy the file with the policy. Needs pip
    install 'tallyman-ecr[trust-roots]'.

    Exit status: 0 written or unchanged; 1 refused or unreachable (the file stays as it is); 2 bad input.
    """
    raw = fetch(mirror.rstrip("/"), root, cache("tuf"))
    from tallyman.adapters.files.signatures import (
        read_roots,
    )  # not above: it needs cryptography, which `fetch` has found

    digest, authorities, logs = read_roots(raw)
    old = to.read_bytes() if to.is_file() else None
    if changed := old != raw:
        replace(to, raw)
    if as_json:
        found = {"file": str(to), "digest": digest, "changed": changed, "authorities": authorities, "logs": logs}
        output.data(found)
    else:
        what = "written: deploy it with the policy" if changed else "unchanged"
        names = output.counted(authorities, "authority", "authorities"), output.counted(logs, "log")
        output.line(f"{to}: {what} (it names {names[0]} and {names[1]}; {digest})")


def fetch(mirror: str, root: Path, folder: Path) -> bytes:
    """The target trusted_root.json of a TUF repository: `mirror` holds its metadata, and its targets under `targets/`.

    `folder`: keeps the metadata that was fetched last. Raises Refused if the target is not signed, expired, or older
    than what was fetched before; Unreachable; and BadInput.
    """
    if not origin(mirror)[2]:
        raise BadInput(f"--mirror {mirror}: expected a URL such as {SIGSTORE}")
    try:
        trusted = read(root, LARGEST)
    except OSError as error:
        raise BadInput(f"--root {root}: can't be read: {error.strerror or error}") from error
    try:
        from tuf.api import exceptions
        from tuf.ngclient import Updater
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed: pip install 'tallyman-ecr[trust-roots]'") from error
    # a folder for each mirror and root: the metadata of one says nothing about another
    kept = folder / hashlib.sha256(mirror.encode() + b"\n" + trusted).hexdigest()[:16]
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{kept} can't be created: {error.strerror or error}") from error
    try:
        updater = Updater(str(kept), mirror, str(kept), f"{mirror}/targets", bootstrap=trusted)
        updater.refresh()
        info = updater.get_targetinfo(TRUST_ROOTS)
        if info is None:
            raise Refused(f"{mirror} has no {TRUST_ROOTS}")
        return Path(updater.find_cached_target(info) or updater.download_target(info)).read_bytes()
    except exceptions.DownloadError as error:
        raise Unreachable(f"{mirror} can't be read: {error}") from error
    except (exceptions.RepositoryError, ValueError) as error:
        raise Refused(f"{mirror} is not to be trusted: {error}") from error
