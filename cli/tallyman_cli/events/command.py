"""`tallyman event`: the payloads that functions get, made from one source."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tallyman.adapters.files import reading
from tallyman.domain.names import Digest, EcrRegistry, parse_repository_name, parse_tag
from tallyman.errors import BadInput
from tallyman_cli.events.parts import Subject, subject
from tallyman_cli.events.source import payloads, text
from tallyman_cli.shared import output
from tallyman_cli.shared.options import argument, option

app = typer.Typer(help="Make the event payloads of the functions.", no_args_is_help=True)


@app.command("make")
def make(  # noqa: PLR0913 - each argument is an option of the command
    name: Annotated[str | None, argument("FUNCTION/NAME", "Print this payload; without it, all are written.")] = None,
    to: Annotated[Path, option("--to FOLDER", "The folder to write to.")] = Path("events"),
    check: Annotated[
        bool, option("--check", "Write nothing; exit with 1 if the folder differs from what would be written.")
    ] = False,
    repository: Annotated[str | None, option("--repository NAME", "The repository of the events.")] = None,
    tag: Annotated[str | None, option("--tag TAG", "The tag of the events.")] = None,
    digest: Annotated[
        str | None, option("--digest DIGEST", "The digest of the events, also of platform images.")
    ] = None,
    registry: Annotated[str | None, option("--registry ACCOUNT/REGION", "The registry of the events.")] = None,
) -> None:
    """Make the payloads of events/, or print one of them, about any image.

    They are what functions get from SQS, EventBridge and CloudTrail, for `sam local invoke`, `make invoke` and tests.
    Without a name, all are written to the folder.

    Exit status: 0 done; 1 with --check if a file differs.
    """
    about = _about(repository, tag, digest, registry)
    made = {path: text(payload) for path, payload in payloads(about).items()}
    if name is not None:
        path = f"{name.removeprefix('events/').removesuffix('.json')}.json"
        if path not in made:
            raise BadInput(f"no event {name}: there are {', '.join(p.removesuffix('.json') for p in sorted(made))}")
        output.line(made[path].rstrip("\n"))
        return
    if not check:
        for path, content in made.items():
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            (to / path).write_text(content, "utf-8")
        output.say(f"{output.counted(len(made), 'event')} in {to}")
        return
    wrong = differences(made, to)
    for each in wrong:
        output.say(each)
    if wrong:
        raise typer.Exit(1)


def _about(repository: str | None, tag: str | None, digest: str | None, registry: str | None) -> Subject:
    about = subject()
    if repository:
        about = replace(about, name=parse_repository_name(repository))
    if tag:
        about = replace(about, tag=parse_tag(tag))
    if digest:
        about = replace(about, index=(found := Digest.parse(digest)), children=(found,) * len(about.children))
    if registry:
        about = replace(about, registry=EcrRegistry.parse(registry))
    return about


def differences(made: dict[str, str], folder: Path) -> list[str]:
    """How the folder differs from what would be written, a sentence for each file."""
    there = {path.relative_to(folder).as_posix(): path for path in folder.glob("*/*.json")}
    found = [f"{path} is missing: `tallyman event make` writes it" for path in sorted(made.keys() - there.keys())]
    found += [
        f"{path} has no source: add it to cli/tallyman_cli/events/source.py"
        for path in sorted(there.keys() - made.keys())
    ]
    found += [
        f"{path} is not what its source says: `tallyman event make` writes it again"
        for path in sorted(made.keys() & there.keys())
        if reading.text(there[path]) != made[path]
    ]
    return found
