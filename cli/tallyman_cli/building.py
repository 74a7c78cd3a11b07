"""The phases of a build: work out the tags, see to the repository, build, push the tag last, read the digest back.

Each may be repeated: what is there already is not done again, and a push that was cut off leaves no tag.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tallyman.domain.manifest import Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.errors import BadInput, DigestMismatch, Refused, TagTaken
from tallyman_cli.attesting import IN_TOTO, SPDX, annotations, bases, provenance, sbom
from tallyman_cli.built_image import Blob, BuiltImage, attachment, from_saved, index_of
from tallyman_cli.checkout import Checkout, archive
from tallyman_cli.context import Stack
from tallyman_cli.creation import DIFFERS, FAILED, create_in
from tallyman_cli.tagging import Suggestion, next_free

REVISION = "org.opencontainers.image.revision"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be built, as what."""

    checkout: Checkout
    suggestion: Suggestion
    name: str

    @property
    def labels(self) -> dict[str, str]:
        """Of the image, and its annotations."""
        return annotations(self.checkout, self.suggestion.version)


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
    """The digest that the version's tags name already, built from the same commit; None: none of them is there.

    TagTaken: one names what was built from another commit, with the tag to use instead.
    """
    found: Digest | None = None
    fixed = [tag for tag in wanted.suggestion.tags if not stack.policy.repository(wanted.name).create.may_move(tag)]
    for tag in fixed:
        manifest = stack.source.manifest(place, tag)
        if manifest is None:
            continue
        revision = manifest.annotations.get(REVISION) or _label(stack, place, manifest)
        if revision != wanted.checkout.commit:
            raise TagTaken(
                f"{place}:{tag} was built from {revision or 'an unknown commit'}, this is {wanted.checkout.commit}: "
                f"give this commit the Git tag {next_free(wanted.suggestion.version)}"
            )
        found = manifest.digest
    return found if found is not None and _all_there(stack, place, fixed, found) else None


def _all_there(stack: Stack, place: Repository, tags: Iterable[str], digest: Digest) -> bool:
    return all((m := stack.source.manifest(place, tag)) is not None and m.digest == digest for tag in tags)


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


def build(wanted: Wanted, scratch: Path, say: Say, platform: str | None = None) -> BuiltImage:
    """`docker build` of the commit. Refused with the engine's last words where it fails; BadInput: no Dockerfile, no
    engine. With `platform` for another one, which needs QEMU where the Dockerfile runs something."""
    dockerfile = wanted.checkout.folder / "Dockerfile"
    if not dockerfile.is_file():
        raise BadInput(f"there is no {dockerfile}")
    for base in bases(dockerfile.read_text("utf-8")):
        pinned = f"pinned to {base.digest}" if base.digest else "not pinned by digest: builds may differ"
        say(f"base image {base.image}: {pinned}")
    image_id = scratch / "image-id"
    command = ["docker", "build", "--iidfile", str(image_id)]
    for name, value in wanted.labels.items():
        command += ["--label", f"{name}={value}"]
    command += ["--build-arg", f"SOURCE_DATE_EPOCH={int(wanted.checkout.at.timestamp())}"]
    if platform:
        command += ["--platform", platform]
    run([*command, "-"], archive(wanted.checkout))
    saved = scratch / "image.tar"
    run(["docker", "save", "--output", str(saved), image_id.read_text().strip()])
    # From scratch the engine names its own platform, whatever was asked for; a base image names the right one.
    asked = platform if platform and not bases(dockerfile.read_text("utf-8")) else None
    built = from_saved(saved, wanted.checkout.at, wanted.labels, scratch, asked)
    saved.unlink()
    return built


def run(command: list[str], given: bytes = b"") -> None:
    """Runs a program. Refused with its last words where it fails."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False)
    except FileNotFoundError:
        raise BadInput(f"there is no {command[0]} here") from None
    if done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Refused(f"{' '.join(command[:2])} failed: {words[-1500:]}")


def push_content(stack: Stack, place: Repository, image: BuiltImage) -> None:
    """Layers, then the configuration, then the manifest by its digest. No tag: it is not seen yet."""
    _push_blobs(stack, place, image.blobs)
    stack.target.put_manifest(place, image.manifest)


def _push_blobs(stack: Stack, place: Repository, blobs: Iterable[Blob]) -> None:
    by_digest = {blob.digest: blob for blob in blobs}
    for digest in stack.target.missing_blobs(place, by_digest):
        stack.target.upload(place, digest, by_digest[digest].size, by_digest[digest].chunks())


def attach(stack: Stack, place: Repository, wanted: Wanted, image: BuiltImage) -> list[Digest]:
    """SBOM and provenance, as referrers of the image."""
    on = bases((wanted.checkout.folder / "Dockerfile").read_text("utf-8"))
    documents: list[tuple[str, Mapping[str, object]]] = [
        (SPDX, sbom(wanted.name, image.manifest, image.packages, wanted.checkout)),
        (IN_TOTO, provenance(wanted.name, image.manifest, wanted.checkout, on)),
    ]
    found = []
    for kind, document in documents:
        manifest, blobs = attachment(image.manifest, kind, document)
        _push_blobs(stack, place, blobs)
        stack.target.put_manifest(place, manifest)
        found.append(manifest.digest)
    return found


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


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Where layers lie while they are compressed and pushed."""
    return tempfile.TemporaryDirectory(prefix="tallyman-build-")
