"""The phases of a build: see to the repository, build, push the tag last, read the digest back.

Each may be repeated: what is there already is not done again, and a push that was cut off leaves no tag.
"""

import json
import platform as here_platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.images.provenance import PREDICATE
from tallyman.domain.images.sboms import SPDX
from tallyman.domain.names import Digest, Repository
from tallyman.errors import DigestMismatch, Refused, TagTaken
from tallyman_cli.build.builder import Builder, Say, dockerfile_of
from tallyman_cli.build.built_image import BuiltImage, attachment, index_of
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.build.docker_build import Recipe
from tallyman_cli.build.dockerfile import Base, bases, stands_on
from tallyman_cli.build.image_layers import Blob
from tallyman_cli.build.invocation import here
from tallyman_cli.build.signing import BUNDLE, Signer, bundle, notes
from tallyman_cli.build.statements import (
    IN_TOTO,
    SBOM_PREDICATES,
    SLSA,
    annotations,
    of_base,
    provenance,
    statement_of,
)
from tallyman_cli.build.tagging import Suggestion, next_free
from tallyman_cli.registry.creation import DIFFERS, FAILED, create_in
from tallyman_cli.sbom.contents import LOOKED_FOR
from tallyman_cli.sbom.document import sbom
from tallyman_cli.shared.context import Stack

REVISION = "org.opencontainers.image.revision"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be built, as what."""

    checkout: Checkout
    suggestion: Suggestion
    name: str
    signer: Signer | None = None

    @property
    def labels(self) -> dict[str, str]:
        """Of the image, and its annotations."""
        named = annotations(self.checkout, self.suggestion.version)
        # A commit whose platforms were built elsewhere and are only joined here may have no Dockerfile any more.
        there = self.checkout.file("Dockerfile") is not None
        return named | of_base(stands_on(dockerfile_of(self.checkout)) if there else None)


def repository(stack: Stack, name: str, environment: str) -> Repository:
    """The repository, created as the policy says. Refused where one is there that is not as the policy says, such as
    one whose tags may move: a version that can be overwritten is none."""
    made = create_in(stack, name, environment)
    for each in made:
        if each["state"] == FAILED:
            raise Refused(f"{each['repository']} in {each['registry']}: {each['error']}")
        if each["state"] == DIFFERS:
            found = "; ".join(f"{d['setting']}: wanted {d['wanted']}, found {d['found']}" for d in each["differences"])
            raise Refused(
                f"{each['repository']} in {each['registry']} is not as the policy says ({found or each['problem']}): "
                f"mend it, or change `create` in the policy"
            )
    return stack.policy.environment(environment).repositories(name)[0]


def there(stack: Stack, place: Repository, wanted: Wanted) -> Digest | None:
    """The digest that all of the version's tags name already, built from the same commit; None: one is not there.

    TagTaken: one names what was built from another commit, with the tag to use instead.
    """
    found: list[Digest | None] = []
    fixed = [tag for tag in wanted.suggestion.tags if not stack.policy.repository(wanted.name).create.may_move(tag)]
    for tag in fixed:
        manifest = stack.source.manifest(place, tag)
        found.append(manifest.digest if manifest else None)
        if manifest is None:
            continue
        revision = manifest.annotations.get(REVISION) or _label(stack, place, manifest)
        if revision != wanted.checkout.commit:
            raise TagTaken(
                f"{place}:{tag} was built from {revision or 'an unknown commit'}, this is {wanted.checkout.commit}: "
                f"give this commit the Git tag {next_free(wanted.suggestion.version)}"
            )
    return found[0] if len(set(found)) == 1 else None


def _label(stack: Stack, place: Repository, manifest: Manifest) -> str | None:
    """The revision in the configuration's labels, of an index in its first platform's."""
    if manifest.is_index:
        children = manifest.platform_children
        child = stack.source.manifest(place, children[0].digest) if children else None
        return (child.annotations.get(REVISION) or _label(stack, place, child)) if child is not None else None
    if manifest.config is None:
        return None
    with stack.source.open_blob(place, manifest.config.digest) as stream:
        config = json.loads(b"".join(stream))
    label = (config.get("config") or {}).get("Labels") or {}
    revision: str | None = label.get(REVISION)
    return revision


def build(
    wanted: Wanted, builder: Builder, scratch: Path, say: Say, platforms: Sequence[str], cache: str | None = None
) -> list[BuiltImage]:
    """Builds the commit, for each platform by itself (none named: this machine's). `cache`: where a BuildKit by itself
    keeps its cache, without a tag. Refused with the builder's last words where it fails; BadInput: no Dockerfile, no
    docker."""
    for base in bases(dockerfile_of(wanted.checkout)):
        pinned = f"pinned to {base.digest}" if base.digest else "not pinned by digest: builds may differ"
        say(f"base image {base.image}: {pinned}")
    say(f"built by {builder}")
    if cache and not builder.apart:
        say(f"no cache in {cache}: that takes a BuildKit by itself (docker buildx create --use)")
    found = []
    for number, platform in enumerate(platforms or [None]):
        if platform and builder.platforms and platform not in builder.platforms:
            say(f"{platform} is not what the builder runs: a Dockerfile that runs something needs QEMU for it (binfmt)")
        at = f"{cache}:{cache_tag(wanted, platform)}" if cache else None
        folder = scratch / str(number)
        folder.mkdir()
        found.append(Recipe(builder, wanted.checkout, wanted.labels, platform, at).build(folder, say))
    return found


def cache_tag(wanted: Wanted, platform: str | None) -> str:
    """The tag of the cache: one for each repository and platform."""
    words = ["cache", *wanted.name.split("/"), *(platform or f"linux/{machine()}").split("/")]
    return "-".join(words)[:128]


def push_content(stack: Stack, place: Repository, image: BuiltImage) -> None:
    """Layers, then the configuration, then the manifest by its digest. No tag: it is not seen yet."""
    _push_blobs(stack, place, image.blobs)
    stack.target.put_manifest(place, image.manifest)


def _push_blobs(stack: Stack, place: Repository, blobs: Iterable[Blob]) -> None:
    by_digest = {blob.digest: blob for blob in blobs}
    for digest in stack.target.missing_blobs(place, by_digest):
        stack.target.upload(place, digest, by_digest[digest].size, by_digest[digest].chunks())


Sbom = tuple[str, Mapping[str, object]]
"""The media type of an SBOM, and the document."""


def sbom_of(wanted: Wanted, image: BuiltImage, scanned: Sbom | None, say: Say) -> Sbom | None:
    """The SBOM of an image: the scanner's, else one of the packages that were found inside; None where none were found,
    for an SBOM without a package states nothing."""
    if scanned is not None:
        return scanned
    contents = image.contents
    if contents.gaps:
        say(f"the SBOM is incomplete, not read: {'; '.join(contents.gaps)} (--sbom FILE takes a scanner's)")
    if not contents.packages:
        say(f"no SBOM: no package was found inside; looked for {LOOKED_FOR} (--sbom FILE takes a scanner's)")
        return None
    return SPDX, sbom(wanted.name, image.manifest, contents, wanted.checkout)


def attach(
    stack: Stack, place: Repository, wanted: Wanted, manifest: Manifest, on: Sequence[Base], document: Sbom | None
) -> list[Digest]:
    """SBOM (an index has none of its own) and provenance, as referrers of the image. `on`: what it was built upon. With
    a signer the provenance is signed, and the SBOM once more in a statement that is."""
    by, signer = here(), wanted.signer
    statement = provenance(wanted.name, manifest, wanted.checkout, on, by)
    if signer is None:
        made = [attachment(manifest, IN_TOTO, statement, {PREDICATE: SLSA, **by.annotations})]
    else:
        made = [attachment(manifest, BUNDLE, bundle(signer, statement), {**notes(SLSA), **by.annotations})]
    if document is not None:
        made.insert(0, attachment(manifest, document[0], document[1]))
        if signer is not None:
            kind = SBOM_PREDICATES[document[0]]
            about = statement_of(wanted.name, manifest, kind, document[1])
            made.append(attachment(manifest, BUNDLE, bundle(signer, about), notes(kind)))
    for referrer, blobs in made:
        push_referrer(stack, place, referrer, blobs)
    return [referrer.digest for referrer, _ in made]


def push_referrer(stack: Stack, place: Repository, referrer: Manifest, blobs: Iterable[Blob]) -> None:
    """What is attached to an image: its blobs, then its manifest, by its digest."""
    _push_blobs(stack, place, blobs)
    stack.target.put_manifest(place, referrer)


def tag(stack: Stack, place: Repository, root: Manifest, tags: Iterable[str]) -> None:
    """The tags, last, the version's first; then each is read back. DigestMismatch: one names something else."""
    for name in tags:
        stack.target.put_manifest(place, root, name)
    for name in tags:
        found = stack.source.manifest(place, name)
        if found is None or found.digest != root.digest:
            raise DigestMismatch(
                f"{place}:{name} was pushed as {root.digest} and reads back as {found and found.digest}"
            )


def machine() -> str:
    """This machine's architecture, as images name it."""
    machine = here_platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def part_tag(wanted: Wanted, architecture: str) -> str:
    """The tag under which a platform's image waits in the parts' repository."""
    return f"{wanted.checkout.short}-{architecture}"


def leave_part(stack: Stack, parts: Repository, wanted: Wanted, image: BuiltImage) -> str:
    """Leaves word of a platform's image for the build that joins them: the image itself, in a repository of its own."""
    name = part_tag(wanted, image.platform["architecture"])
    push_content(stack, parts, image)
    stack.target.put_manifest(parts, image.manifest, name)
    return name


def join(stack: Stack, place: Repository, parts: Repository, wanted: Wanted, architectures: Iterable[str]) -> Manifest:
    """The index of the platforms' images. NotFound-like Refused where a part is missing: build it first."""
    children: list[tuple[Manifest, Mapping[str, str]]] = []
    for architecture in architectures:
        name = part_tag(wanted, architecture)
        part = stack.source.manifest(parts, name)
        if part is None:
            raise Refused(f"{parts}:{name} is not there: has the build for {architecture} ended?")
        if stack.source.manifest(place, part.digest) is None:
            raise Refused(f"{place}@{part.digest} ({architecture}) is not there: build it again")
        children.append((part, {"os": "linux", "architecture": architecture}))
    return index_of(children, wanted.labels)


def together(images: Sequence[BuiltImage], wanted: Wanted) -> Manifest:
    """The image, or the index of several."""
    if len(images) == 1:
        return images[0].manifest
    return index_of([(image.manifest, image.platform) for image in images], wanted.labels)


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Where layers lie while they are compressed and pushed."""
    return tempfile.TemporaryDirectory(prefix="tallyman-build-")
