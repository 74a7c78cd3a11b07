"""Statements about a build: the labels of the image, and its provenance (in-toto, SLSA 1.0). SBOMs: sbom/document.py.

SBOM and provenance are referrers, never inside an index, so that the image has the same digest with and without them.
Only the provenance names the build.
"""

from collections.abc import Mapping, Sequence

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.images.sboms import CYCLONEDX, SPDX
from tallyman.domain.times import format_time
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.build.dockerfile import Base
from tallyman_cli.build.invocation import Invocation

IN_TOTO = "application/vnd.in-toto+json"
SLSA = "https://slsa.dev/provenance/v1"
SBOM_PREDICATES = {SPDX: "https://spdx.dev/Document", CYCLONEDX: "https://cyclonedx.org/bom"}
"""The predicate of a statement that holds an SBOM, by the SBOM's media type."""


def annotations(checkout: Checkout, version: str) -> dict[str, str]:
    """The annotations of an image about its source (OCI image-spec, annotations.md)."""
    annotations = {
        "org.opencontainers.image.revision": checkout.commit,
        "org.opencontainers.image.source": checkout.source,
        "org.opencontainers.image.created": format_time(checkout.at),
        "org.opencontainers.image.version": version.removeprefix("v"),
        "org.opencontainers.image.authors": checkout.author,
    }
    return {name: value for name, value in annotations.items() if value}


def of_base(base: Base | None) -> dict[str, str]:
    """The annotations of an image about its base image."""
    if base is None:
        return {}
    base_annotations = {"org.opencontainers.image.base.name": base.image}
    return base_annotations | ({"org.opencontainers.image.base.digest": base.digest} if base.digest else {})


def provenance(
    name: str, subject: Manifest, checkout: Checkout, on: Sequence[Base], by: Invocation
) -> dict[str, object]:
    """The statement of the commit, the base images (`on`), the build and the person behind an image."""
    dependencies: list[dict[str, object]] = [
        {"uri": checkout.source or f"git:{checkout.folder.name}", "digest": {"gitCommit": checkout.commit}}
    ]
    for base in on:
        dependency: dict[str, object] = {"uri": base.image}
        if base.digest:
            dependency["digest"] = {"sha256": base.digest.removeprefix("sha256:")}
        dependencies.append(dependency)
    ref = f"refs/heads/{checkout.branch}" if checkout.branch else _tag(checkout)
    predicate = {
        "buildDefinition": {
            "buildType": "https://mobyproject.org/dockerfile",
            "externalParameters": {
                "source": checkout.source,
                "revision": checkout.commit,
                **({"ref": ref} if ref else {}),
            },
            "internalParameters": {key: text for key, text in (("url", by.url), ("person", by.person)) if text},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {"id": by.builder},
            "metadata": {"invocationId": by.id} if by.id else {},
        },
    }
    return statement_of(name, subject, SLSA, predicate)


def statement_of(name: str, subject: Manifest, kind: str, predicate: Mapping[str, object]) -> dict[str, object]:
    """An in-toto statement about an image."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": subject.digest.hex}}],
        "predicateType": kind,
        "predicate": predicate,
    }


def _tag(checkout: Checkout) -> str | None:
    return f"refs/tags/{checkout.released.text}" if checkout.released else None
