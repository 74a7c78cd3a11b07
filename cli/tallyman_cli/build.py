"""`tallyman build`: from a commit to an image that is pushed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tallyman.domain.manifest import Manifest
from tallyman.domain.names import Registry, Repository, parse_repository_name
from tallyman.errors import BadInput
from tallyman_cli import building, context, options, output
from tallyman_cli.building import Wanted
from tallyman_cli.checkout import read
from tallyman_cli.tagging import suggest


def build(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="The folder with the Dockerfile.")] = Path(),
    repository: Annotated[
        str, typer.Option("--repository", metavar="NAME", help="What the image is called.", show_default=False)
    ] = "",
    environment: Annotated[str, typer.Option("--in", metavar="ENVIRONMENT", help="Where it is pushed to.")] = "dev",
    push: Annotated[bool, typer.Option("--push", help="Push it, the tags last; without, it is only built.")] = False,
    platform: Annotated[
        str | None,
        typer.Option("--platform", metavar="OS/ARCHITECTURE", help="Build for this one.", show_default="this machine"),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            "--parts",
            metavar="NAME",
            help="The repository where platforms wait to be joined: push without tags, and leave word there.",
            show_default=False,
        ),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            "--join",
            metavar="ARCHITECTURES",
            help="Build nothing: join what waits in --parts (amd64,arm64) into an index.",
            show_default=False,
        ),
    ] = None,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """Build the image of a commit and push it, tagged with version and commit.

    The same commit gives the same digest. A tag that is there and was built from this commit: done already. One that
    was built from another: refused, with the tag to use. Exit status: 0 done, 1 refused or failed, 2 bad input.
    """
    if not repository:
        raise BadInput("which repository? name it with --repository, such as --repository rocketseat/widget-server")
    if join and not parts:
        raise BadInput("--join needs --parts: the repository where the platforms' images wait")
    checkout = read(path)
    name = parse_repository_name(repository)
    rules = context.rules(stack, policy).repository(name)
    wanted = Wanted(checkout, suggest(checkout, rules), name)
    for each in wanted.suggestion.left_out:
        output.say(f"left out: {each}")
    answer = _push(wanted, environment, platform, parts, join, stack, policy) if push else _only(wanted, platform)
    if as_json:
        output.data(answer)
        return
    for image in answer["images"] or [answer["digest"]]:
        output.line(image)


def _only(wanted: Wanted, platform: str | None) -> dict[str, Any]:
    with building.scratch_folder() as scratch:
        built = building.build(wanted, Path(scratch), output.say, platform)
    output.say(f"built, not pushed (--push): its tags would be {', '.join(wanted.suggestion.tags)}")
    return _answer(wanted, built.manifest, None, "built")


def _push(
    wanted: Wanted,
    environment: str,
    platform: str | None,
    parts: str | None,
    join: str | None,
    stack: str | None,
    policy: Path | None,
) -> dict[str, Any]:
    opened = context.connect(stack, policy)
    place = building.repository(opened, wanted.name, environment)
    if found := building.there(opened, place, wanted):
        output.say(f"{place}@{found} was built from this commit: done already")
        manifest = opened.source.manifest(place, found)
        assert manifest is not None  # it was read a moment ago
        building.tag(opened, place, manifest, wanted.suggestion.tags)
        return _answer(wanted, manifest, place, "there")
    waiting = Repository(place.registry, parse_repository_name(parts)) if parts else None
    if join and waiting:
        root = building.join(opened, place, waiting, wanted, join.split(","))
        opened.target.put_manifest(place, root)
        building.tag(opened, place, root, wanted.suggestion.tags)
        return _answer(wanted, root, place, "pushed")
    with building.scratch_folder() as scratch:
        built = building.build(wanted, Path(scratch), output.say, platform)
        building.push_content(opened, place, built)
        for referrer in building.attach(opened, place, wanted, built):
            output.say(f"attached {referrer}")
        if waiting:
            output.say(f"left {waiting}:{building.leave_part(opened, waiting, wanted, built)}")
            return _answer(wanted, built.manifest, place, "part")
    building.tag(opened, place, built.manifest, wanted.suggestion.tags)
    return _answer(wanted, built.manifest, place, "pushed")


def _answer(wanted: Wanted, manifest: Manifest, place: Repository | None, state: str) -> dict[str, Any]:
    tags = list(wanted.suggestion.tags) if state in ("pushed", "there") else []
    registry: Registry | None = place.registry if place else None
    return {
        "state": state,
        "repository": wanted.name,
        "registry": str(registry) if registry else None,
        "commit": wanted.checkout.commit,
        "version": wanted.suggestion.version,
        "tags": tags,
        "digest": manifest.digest,
        "images": [place.at(manifest.digest)] if place else [],
    }
