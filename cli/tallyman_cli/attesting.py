"""What is said of a build, beside the image: an SBOM (SPDX 2.3) and its provenance (in-toto, SLSA 1.0).

Both say nothing that another build of the same commit would say otherwise, and are referrers, never inside an index:
the image has the same digest with and without them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tallyman.domain.manifest import Manifest
from tallyman.domain.times import format_time
from tallyman_cli.checkout import Checkout

SPDX = "application/spdx+json"
IN_TOTO = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Base:
    """What a Dockerfile builds upon. `digest`: as pinned there, None where it is not."""

    image: str
    digest: str | None


def bases(dockerfile: str) -> tuple[Base, ...]:
    """The base images of a Dockerfile; `scratch` and earlier stages are none. Of variables the default counts."""
    found: list[Base] = []
    stages: set[str] = set()
    variables: dict[str, str] = {}
    for line in dockerfile.splitlines():
        words = [word for word in line.split() if not word.startswith("--")]
        if len(words) > 1 and words[0].upper() == "ARG":
            name, _, default = words[1].partition("=")
            variables[name] = default
        elif len(words) > 1 and words[0].upper() == "FROM":
            image = words[1]
            for name, default in variables.items():
                image = image.replace(f"${{{name}}}", default).replace(f"${name}", default)
            if image != "scratch" and image not in stages:
                name, _, digest = image.partition("@")
                found.append(Base(name, digest or None))
            if len(words) > 3 and words[2].upper() == "AS":
                stages.add(words[3])
    return tuple(dict.fromkeys(found))


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


def provenance(name: str, subject: Manifest, checkout: Checkout, on: Sequence[Base]) -> dict[str, object]:
    """Which commit it was built from, and upon what."""
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
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://mobyproject.org/dockerfile",
                "externalParameters": {"source": checkout.source, "revision": checkout.commit},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {"builder": {"id": "tallyman build"}},
        },
    }
