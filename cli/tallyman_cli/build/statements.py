"""What is said of a build, beside the image: an SBOM (SPDX 2.3) and its provenance (in-toto, SLSA 1.0).

Both are referrers, never inside an index: the image has the same digest with and without them. Only the provenance says
which build it was; the SBOM says nothing that another build of the same commit would say otherwise.
"""

from collections.abc import Mapping, Sequence

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.times import format_time
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.build.dockerfile import Base
from tallyman_cli.build.invocation import Invocation

SPDX = "application/spdx+json"
IN_TOTO = "application/vnd.in-toto+json"
SLSA = "https://slsa.dev/provenance/v1"


def annotations(checkout: Checkout, version: str) -> dict[str, str]:
    """What image and labels say of where they come from (OCI image-spec, annotations.md)."""
    told = {
        "org.opencontainers.image.revision": checkout.commit,
        "org.opencontainers.image.source": checkout.source,
        "org.opencontainers.image.created": format_time(checkout.at),
        "org.opencontainers.image.version": version.removeprefix("v"),
        "org.opencontainers.image.authors": checkout.author,
    }
    return {name: value for name, value in told.items() if value}


def of_base(base: Base | None) -> dict[str, str]:
    """What image and labels say of the image that it stands on."""
    if base is None:
        return {}
    told = {"org.opencontainers.image.base.name": base.image}
    return told | ({"org.opencontainers.image.base.digest": base.digest} if base.digest else {})


def sbom(name: str, subject: Manifest, packages: Mapping[str, str], checkout: Checkout) -> dict[str, object]:
    """The packages that were found inside."""
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://tallyman.invalid/spdx/{name}/{subject.digest}",
        "creationInfo": {"created": format_time(checkout.at), "creators": ["Tool: tallyman"]},
        "packages": [
            {
                "SPDXID": f"SPDXRef-{number}",
                "name": package.partition("/")[2],
                "versionInfo": version,
                "downloadLocation": "NOASSERTION",
                "externalRefs": [
                    {
                        "referenceCategory": "PACKAGE-MANAGER",
                        "referenceType": "purl",
                        "referenceLocator": f"pkg:{package}@{version}",
                    }
                ],
            }
            for number, (package, version) in enumerate(sorted(packages.items()), 1)
        ],
    }


def provenance(
    name: str, subject: Manifest, checkout: Checkout, on: Sequence[Base], by: Invocation
) -> dict[str, object]:
    """Which commit it was built from, upon what, and by which build for whom."""
    told = {"url": by.url, "person": by.person}
    dependencies: list[dict[str, object]] = [
        {"uri": checkout.source or f"git:{checkout.folder.name}", "digest": {"gitCommit": checkout.commit}}
    ]
    for base in on:
        dependency: dict[str, object] = {"uri": base.image}
        if base.digest:
            dependency["digest"] = {"sha256": base.digest.removeprefix("sha256:")}
        dependencies.append(dependency)
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": subject.digest.hex}}],
        "predicateType": SLSA,
        "predicate": {
            "buildDefinition": {
                "buildType": "https://mobyproject.org/dockerfile",
                "externalParameters": {"source": checkout.source, "revision": checkout.commit},
                "internalParameters": {name: text for name, text in told.items() if text},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": by.builder},
                "metadata": {"invocationId": by.id} if by.id else {},
            },
        },
    }
