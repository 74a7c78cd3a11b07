"""The phases of a build: create the repository, build, push the content and then the tags, read the digest back.

Each phase may be repeated: it skips what exists already, and a push that was interrupted leaves no tag.
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
from tallyman_cli.build.builder import Builder, dockerfile_of
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
from tallyman_cli.registry.creation import DIFFERS, FAILED, create_in, in_words
from tallyman_cli.sbom.contents import LOOKED_FOR
from tallyman_cli.sbom.document import sbom
from tallyman_cli.shared import output
from tallyman_cli.shared.context import Stack

REVISION = "org.opencontainers.image.revision"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The commit to build, the tags and the repository of its image, and who signs statements about it."""

    checkout: Checkout
    suggestion: Suggestion
    name: str
    signer: Signer | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the image, which are its annotations too."""
        named = annotations(self.checkout, self.suggestion.version)
        # Platforms that were built elsewhere may be joined here without a Dockerfile.
        there = self.checkout.file("Dockerfile") is not None
        return named | of_base(stands_on(dockerfile_of(self.checkout)) if there else None)


def repository(stack: Stack, name: str, environment: str) -> Repository:
    """The repository, created as the policy says if it is missing. Raises Refused if it differs from the policy: a
    version in a repository whose tags may move could be overwritten."""
    made = create_in(stack, name, environment)
    for each in made:
        if each["state"] == FAILED:
            raise Refused(f"{each['repository']} in {each['registry']}: {each['error']}")
        if each["state"] == DIFFERS:
            found = "; ".join(
                f"{d['setting']}: wanted {in_words(d['wanted'])}, found {in_words(d['found'])}"
                for d in each["differences"]
            )
            raise Refused(
                f"{each['repository']} in {each['registry']} is not as the policy says ({found or each['problem']}): "
                f"mend it, or change `create` in the policy"
            )
    return stack.policy.environment(environment).repositories(name)[0]


def there(stack: Stack, place: Repository, wanted: Wanted) -> Digest | None:
    """The digest to which all tags of the version point already, if it was built from this commit; None: a tag is
    missing. Raises TagTaken, with the tag to use instead, if a tag names an image that was built from another commit.
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
    """The revision in the labels of the configuration; of an index, of its first platform image."""
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
    wanted: Wanted, builder: Builder, scratch: Path, platforms: Sequence[str], cache: str | None = None
) -> list[BuiltImage]:
    """Build the commit for each platform (none: this machine's). `cache`: the repository in which a separate BuildKit
    keeps its cache, as HOST/NAME. Raises Refused, with the end of the builder's output, if a build fails; BadInput if
    there is no Dockerfile or no docker."""
    for base in bases(dockerfile_of(wanted.checkout)):
        pinned = f"pinned to {base.digest}" if base.digest else "not pinned by digest: builds may differ"
        output.say(f"base image {base.image}: {pinned}")
    output.say(f"built by {builder}")
    if cache and not builder.apart:
        output.say(f"no cache in {cache}: that needs a separate BuildKit (docker buildx create --use)")
    found = []
    for number, platform in enumerate(platforms or [None]):
        if platform and builder.platforms and platform not in builder.platforms:
            output.say(f"the builder can't run {platform}: a Dockerfile with RUN needs QEMU for it (binfmt)")
        at = f"{cache}:{cache_tag(wanted, platform)}" if cache else None
        folder = scratch / str(number)
        folder.mkdir()
        found.append(Recipe(builder, wanted.checkout, wanted.labels, platform, at).build(folder))
    return found


def cache_tag(wanted: Wanted, platform: str | None) -> str:
    """The tag of the cache of one repository and platform."""
    words = ["cache", *wanted.name.split("/"), *(platform or f"linux/{machine()}").split("/")]
    return "-".join(words)[:128]


def push(stack: Stack, place: Repository, manifest: Manifest, blobs: Iterable[Blob]) -> None:
    """Push the blobs that are missing, then the manifest by its digest, without a tag."""
    by_digest = {blob.digest: blob for blob in blobs}
    for digest in stack.target.missing_blobs(place, by_digest):
        stack.target.upload(place, digest, by_digest[digest].size, by_digest[digest].chunks())
    stack.target.put_manifest(place, manifest)


Sbom = tuple[str, Mapping[str, object]]
"""The media type of an SBOM, and the document."""


def sbom_of(wanted: Wanted, image: BuiltImage, scanned: Sbom | None) -> Sbom | None:
    """The SBOM of an image: the scanner's, else one of the packages that were found in it; None if none was found,
    because an SBOM without packages states nothing."""
    if scanned is not None:
        return scanned
    contents = image.contents
    if contents.gaps:
        output.say(f"the SBOM is incomplete, not read: {'; '.join(contents.gaps)} (--sbom FILE takes a scanner's)")
    if not contents.packages:
        output.say(f"no SBOM: no package was found inside; looked for {LOOKED_FOR} (--sbom FILE takes a scanner's)")
        return None
    return SPDX, sbom(wanted.name, image.manifest, contents, wanted.checkout)


def attach(
    stack: Stack, place: Repository, wanted: Wanted, manifest: Manifest, on: Sequence[Base], document: Sbom | None
) -> list[Digest]:
    """Attach provenance and SBOM (None: an index has none of its own) to the image as referrers. `on`: its base
    images. With a signer the provenance is signed, and a signed statement with the SBOM is added. Return the
    referrers' digests."""
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
        push(stack, place, referrer, blobs)
    return [referrer.digest for referrer, _ in made]


def tag(stack: Stack, place: Repository, root: Manifest, tags: Iterable[str]) -> None:
    """Set the tags, that of version and commit first, and read each back. Raises DigestMismatch if one points to
    another image."""
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
    """The tag of a platform's image in the repository of parts."""
    return f"{wanted.checkout.short}-{architecture}"


def leave_part(stack: Stack, parts: Repository, wanted: Wanted, image: BuiltImage) -> str:
    """Push a platform's image to the repository of parts, for the build that joins them. Return its tag there."""
    name = part_tag(wanted, image.platform["architecture"])
    push(stack, parts, image.manifest, image.blobs)
    stack.target.put_manifest(parts, image.manifest, name)
    return name


def join(stack: Stack, place: Repository, parts: Repository, wanted: Wanted, architectures: Iterable[str]) -> Manifest:
    """The index of the images in the repository of parts. Raises Refused if one is missing there or in `place`."""
    children: list[tuple[Manifest, Mapping[str, str]]] = []
    for architecture in architectures:
        name = part_tag(wanted, architecture)
        part = stack.source.manifest(parts, name)
        if part is None:
            raise Refused(f"{parts}:{name} does not exist: did the build for {architecture} finish?")
        if stack.source.manifest(place, part.digest) is None:
            raise Refused(f"{place}@{part.digest} ({architecture}) does not exist: build it again")
        children.append((part, {"os": "linux", "architecture": architecture}))
    return index_of(children, wanted.labels)


def together(images: Sequence[BuiltImage], wanted: Wanted) -> Manifest:
    """The image, or the index of several."""
    if len(images) == 1:
        return images[0].manifest
    return index_of([(image.manifest, image.platform) for image in images], wanted.labels)


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for layers while they are compressed and pushed."""
    return tempfile.TemporaryDirectory(prefix="tallyman-build-")
