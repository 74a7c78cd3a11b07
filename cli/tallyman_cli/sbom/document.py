"""The SBOM of an image: made from the packages that were found in it (SPDX 2.3), or a scanner's.

Every build of a commit makes the same SBOM. It names what could not be read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tallyman import __version__
from tallyman.adapters.files.reading import MIB
from tallyman.adapters.files.reading import read as read_file
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.images.sboms import CYCLONEDX, SPDX, package_count
from tallyman.domain.times import format_time
from tallyman.errors import BadInput
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.sbom.contents import LOOKED_FOR
from tallyman_cli.sbom.packages import Contents, Package

NOTHING = "NOASSERTION"
LARGEST = 128 * MIB
"""Bytes of a scanner's SBOM."""
_IMAGE = "SPDXRef-image"


def sbom(name: str, subject: Manifest, contents: Contents, checkout: Checkout) -> dict[str, object]:
    """The SPDX document: it describes the image, which contains each package."""
    short = name.rpartition("/")[2].lower()
    image = {
        "SPDXID": _IMAGE,
        "name": name,
        "versionInfo": subject.digest,
        "downloadLocation": NOTHING,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": subject.digest.hex}],
        "externalRefs": [_purl(f"pkg:oci/{short}@sha256%3A{subject.digest.hex}")],
    }
    listed = [(f"SPDXRef-package-{number}", package) for number, package in enumerate(contents.packages, 1)]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://tallyman.invalid/spdx/{name}/{subject.digest}",
        "creationInfo": {
            "created": format_time(checkout.at),
            "creators": [f"Tool: tallyman-{__version__}"],
            "comment": completeness(contents),
        },
        "packages": [image, *(_package(identifier, package) for identifier, package in listed)],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE),
            *(_relation(_IMAGE, "CONTAINS", identifier) for identifier, _ in listed),
        ],
    }


def completeness(contents: Contents) -> str:
    """Say which packages were looked for, and what was not read."""
    found = f"Looked for: {LOOKED_FOR}."
    return found + (f" Incomplete, not read: {'; '.join(contents.gaps)}." if contents.gaps else "")


def read(file: Path) -> tuple[str, dict[str, Any]]:
    """Read a scanner's SBOM: its media type and the document. Raises BadInput if it is neither SPDX nor CycloneDX in
    JSON, or names no package."""
    try:
        document = json.loads(read_file(file, LARGEST))
    except OSError as error:
        raise BadInput(f"--sbom {file}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise BadInput(f"--sbom {file}: no JSON; expected SPDX or CycloneDX as JSON") from None
    if not isinstance(document, Mapping):
        raise BadInput(f"--sbom {file}: expected an object")
    if document.get("bomFormat") == "CycloneDX":
        kind = CYCLONEDX
    elif str(document.get("spdxVersion", "")).startswith("SPDX-"):
        kind = SPDX
    else:
        raise BadInput(f"--sbom {file}: neither SPDX (spdxVersion) nor CycloneDX (bomFormat)")
    if not package_count(document):
        raise BadInput(f"--sbom {file}: it names no package")
    return kind, dict(document)


def _package(identifier: str, package: Package) -> dict[str, object]:
    full = "/".join(part for part in (package.namespace, package.name) if part)
    return {
        "SPDXID": identifier,
        "name": full if package.kind in ("npm", "golang") else package.name,
        **({"versionInfo": package.version} if package.version else {}),
        "downloadLocation": NOTHING,
        "filesAnalyzed": False,
        "externalRefs": [_purl(package.purl)],
    }


def _purl(locator: str) -> dict[str, str]:
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
