"""`tallyman build`: builds the image of a commit, and pushes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Repository, parse_repository_name
from tallyman.errors import BadInput
from tallyman_cli.build import building
from tallyman_cli.build.builder import dockerfile_of, find
from tallyman_cli.build.building import Wanted
from tallyman_cli.build.checkout import read
from tallyman_cli.build.dockerfile import Base, bases
from tallyman_cli.build.signing import signer_of
from tallyman_cli.build.tagging import suggest
from tallyman_cli.sbom.document import read as read_sbom
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.addresses import address
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.options import argument, option


@options.by_policy
def build(  # noqa: PLR0913 - each argument is an option of the command
    path: Annotated[Path, argument("PATH", "The folder with the Dockerfile.")] = Path(),
    repository: Annotated[str, option("--repository NAME", "The name of the repository.")] = "",
    environment: Annotated[str, option("--in ENVIRONMENT", "The environment to push to.")] = "dev",
    push: Annotated[
        bool, option("--push", "Push the image, its tags last; without it the image is only built.")
    ] = False,
    platform: Annotated[
        str | None,
        option(
            "--platform OS/ARCHITECTURE",
            "The platform to build for; several, separated by commas, make an index.",
            default="this machine",
        ),
    ] = None,
    parts: Annotated[
        str | None,
        option(
            "--parts NAME",
            "Push this platform's image without tags, and also to this repository, where --join reads it.",
        ),
    ] = None,
    join: Annotated[
        str | None,
        option(
            "--join ARCHITECTURES",
            "Build nothing: join the images of these architectures (amd64,arm64) in --parts into an index.",
        ),
    ] = None,
    cache: Annotated[
        str | None, option("--cache NAME", "The repository for the builder's cache, if the builder supports one.")
    ] = None,
    sbom: Annotated[
        Path | None,
        option(
            "--sbom FILE",
            "Attach this SBOM, made by a scanner (SPDX or CycloneDX, JSON).",
            default="made of the packages in the image",
        ),
    ] = None,
    sign: Annotated[
        str | None,
        option("--sign KEY", "Sign provenance and SBOM: a file with a private key (PEM), or the ARN of a KMS key."),
    ] = None,
) -> None:
    """Build the image of a commit and push it, tagged with version and commit.

    The same commit gives the same digest. If the tags exist and were built from this commit, nothing is done. If they
    were built from another commit, the build is refused, and the message names a tag to use.

    Exit status: 0 done; 1 refused or failed; 2 bad input.
    """
    platforms = [each.strip() for each in (platform or "").split(",") if each.strip()]
    pushing = Pushing(environment, platforms, parts, join, cache, read_sbom(sbom) if sbom else None)
    pushing.check()
    checkout = read(path)
    if not repository:
        raise BadInput("which repository? name it with --repository, such as --repository rocketseat/widget-server")
    for doubt in checkout.doubts:
        output.trouble(f"the version is in doubt: {doubt}")
    name = parse_repository_name(repository)
    rules = context.rules().repository(name)
    if sign and not push:
        raise BadInput("--sign needs --push: what is signed is attached to the pushed image")
    opened = context.connect() if push else None
    signer = signer_of(sign, opened.clients) if sign and opened else None
    wanted = Wanted(checkout, suggest(checkout, rules), name, signer)
    for each in wanted.suggestion.left_out:
        output.say(f"left out: {each}")
    answer = _push(wanted, pushing, opened) if opened else _only(wanted, pushing.platforms)
    if output.is_json():
        output.data(answer)
        return
    for image in answer["images"] or [answer["digest"]]:
        output.line(image)


def _only(wanted: Wanted, platforms: list[str]) -> dict[str, Any]:
    with building.scratch_folder() as scratch:
        images = building.build(wanted, find(), Path(scratch), platforms)
    output.say(f"built, not pushed (--push): its tags would be {', '.join(wanted.suggestion.tags)}")
    return _answer(wanted, building.together(images, wanted), None, "built")


@dataclass(frozen=True, slots=True)
class Pushing:
    """How an image is pushed: environment, platforms, repositories of parts and of the cache, a scanner's SBOM."""

    environment: str
    platforms: list[str]
    parts: str | None
    join: str | None
    cache: str | None
    scanned: building.Sbom | None

    def check(self) -> None:
        """Raise BadInput for options that contradict each other."""
        if self.join and not self.parts:
            raise BadInput("--join needs --parts: the repository that holds the platforms' images")
        if self.scanned and self.join:
            raise BadInput("--sbom is for a build: --join builds nothing")
        if self.scanned and len(self.platforms) > 1:
            raise BadInput("--sbom is for one platform: build each platform separately (--parts), then --join them")
        if self.parts and len(self.platforms) > 1:
            raise BadInput("--parts is for one platform: without it, --platform amd64,arm64 makes the index itself")


def _push(wanted: Wanted, to: Pushing, opened: Stack) -> dict[str, Any]:
    place = building.repository(opened, wanted.name, to.environment)
    if found := building.there(opened, place, wanted):
        output.say(f"{place}@{found} was already built from this commit")
        manifest = opened.source.manifest(place, found)
        assert manifest is not None  # it was read a moment ago
        building.tag(opened, place, manifest, wanted.suggestion.tags)
        return _answer(wanted, manifest, place, "there", opened)
    waiting = Repository(place.registry, parse_repository_name(to.parts)) if to.parts else None
    if to.join and waiting:
        root = building.join(opened, place, waiting, wanted, to.join.split(","))
        on = bases(dockerfile_of(wanted.checkout))
        return _answer(wanted, _publish(opened, place, wanted, root, on), place, "pushed", opened)
    kept = address(opened.policy, Repository(place.registry, parse_repository_name(to.cache))) if to.cache else None
    with building.scratch_folder() as scratch:
        images = building.build(wanted, find(), Path(scratch), to.platforms, kept)
        for image in images:
            building.push(opened, place, image.manifest, image.blobs)
            document = building.sbom_of(wanted, image, to.scanned)
            _say(building.attach(opened, place, wanted, image.manifest, image.bases, document))
            if waiting:
                output.say(f"left {waiting}:{building.leave_part(opened, waiting, wanted, image)}")
    root = building.together(images, wanted)
    if waiting:
        return _answer(wanted, root, place, "part", opened)
    on = tuple(dict.fromkeys(base for image in images for base in image.bases))
    return _answer(wanted, _publish(opened, place, wanted, root, on), place, "pushed", opened)


def _publish(opened: Stack, place: Repository, wanted: Wanted, root: Manifest, on: Sequence[Base]) -> Manifest:
    """Push an index with its provenance (an image was pushed before), then set the tags. Return the manifest."""
    if root.is_index:
        opened.target.put_manifest(place, root)
        _say(building.attach(opened, place, wanted, root, on, None))
    building.tag(opened, place, root, wanted.suggestion.tags)
    return root


def _say(referrers: list[Digest]) -> None:
    for referrer in referrers:
        output.say(f"attached {referrer}")


def _answer(
    wanted: Wanted, manifest: Manifest, place: Repository | None, state: str, opened: Stack | None = None
) -> dict[str, Any]:
    """The form of `build --json`. `images`: the address that clients pull, inside a local cloud of that."""
    tags = list(wanted.suggestion.tags) if state in ("pushed", "there") else []
    return {
        "state": state,
        "repository": wanted.name,
        "registry": str(place.registry) if place else None,
        "commit": wanted.checkout.commit,
        "version": wanted.suggestion.version,
        "tags": tags,
        "digest": manifest.digest,
        "images": [f"{address(opened.policy, place)}@{manifest.digest}"] if place and opened else [],
    }
