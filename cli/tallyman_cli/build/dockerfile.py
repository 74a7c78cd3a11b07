"""Reads the base images of a Dockerfile, as BuildKit does.

The rules are those of BuildKit's parser: directives at the top, the escape character, continued lines, comments between
them, heredocs, words with quotes, variables with their modifiers.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tallyman.errors import BadInput
from tallyman_cli.build.dockerfile_words import expand, heredocs, split


@dataclass(frozen=True, slots=True)
class Base:
    """An image that a Dockerfile builds on, or copies from. `digest`: None if it is not pinned."""

    image: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage. `image`: after FROM, with variables replaced; `written`: the instruction; `name`: after AS, in lower
    case; `parent`: the earlier stage that it continues; `copied`: images that it copies or mounts from."""

    image: str
    written: str
    name: str = ""
    parent: "Stage | None" = None
    copied: list[str] = field(default_factory=list)

    @property
    def root(self) -> "Stage":
        """The first stage of its chain, which builds on an image."""
        return self.parent.root if self.parent else self


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """`directives`: lines such as `# escape=`; `arguments`: the instructions ARG before the first stage."""

    directives: tuple[str, ...]
    arguments: tuple[str, ...]
    stages: tuple[Stage, ...]


SCRATCH = "scratch"


def bases(text: str, given: Mapping[str, str] | None = None) -> tuple[Base, ...]:
    """The images in FROM, COPY --from and RUN --mount, without `scratch` and stages. `given`: values of variables such
    as TARGETARCH; others have their defaults, and a variable without a value stays as written. Raises BadInput if it is
    not a Dockerfile."""
    found: list[str] = []
    for stage in parse(text, given).stages:
        if stage.parent is None and stage.image != SCRATCH:
            found.append(stage.image)
        found += stage.copied
    return tuple(dict.fromkeys(map(_base, found)))


def base_alone(text: str) -> str | None:
    """A Dockerfile of nothing but the base image of the last stage: a build of it shows which layers are the base
    image's. The builder replaces its variables. None: there is no base image."""
    parsed = parse(text)
    last = parsed.stages[-1].root
    if last.image == SCRATCH:
        return None
    return "\n".join((*parsed.directives, *parsed.arguments, last.written)) + "\n"


def stands_on(text: str) -> Base | None:
    """The base image of the last stage, perhaps `scratch`. None: only the builder knows it."""
    image = parse(text).stages[-1].root.image
    return None if not image or "$" in image else _base(image)


def parse(text: str, given: Mapping[str, str] | None = None) -> Dockerfile:
    """Parse a Dockerfile. Raises BadInput if it has no FROM, or another instruction than ARG before it."""
    directives, escape = _directives(text)
    variables = dict(given or {})
    arguments: list[str] = []
    stages: list[Stage] = []
    inside: dict[str, str] = {}
    for line in _instructions(text, escape):
        kind, _, rest = line.partition(" ")
        match kind.upper():
            case "ARG" if not stages:
                arguments.append(line)
                _arguments(rest, escape, variables, {})
            case "FROM":
                stages.append(_stage(line, rest, escape, variables, stages))
                inside = {}
            case _ if not stages:
                raise BadInput(f"the Dockerfile begins with '{kind}': expected FROM, or ARG before it")
            case "ARG":
                _arguments(rest, escape, inside, variables)
            case "ENV":
                _environment(rest, escape, inside)
            case "COPY" | "ADD" | "RUN":
                stages[-1].copied.extend(_copied(rest, escape, inside, stages[:-1]))
    if not stages:
        raise BadInput("the Dockerfile has no FROM")
    return Dockerfile(directives, tuple(arguments), tuple(stages))


def _base(image: str) -> Base:
    name, _, digest = image.partition("@")
    return Base(name, digest or None)


def _stage(line: str, rest: str, escape: str, variables: Mapping[str, str], before: list[Stage]) -> Stage:
    flags, words = _flags(rest, escape)
    image = expand(words[0], variables, escape) if words else ""
    if not image:
        raise BadInput(f"the Dockerfile says '{line}': expected an image")
    name = words[2].lower() if len(words) > 2 and words[1].upper() == "AS" else ""
    parent = next((stage for stage in reversed(before) if stage.name and stage.name == image.lower()), None)
    return Stage(image, " ".join(("FROM", *flags, words[0])), name, parent)


def _arguments(rest: str, escape: str, into: dict[str, str], inherited: Mapping[str, str]) -> None:
    """Add the values of ARG: `NAME=value …`, or `NAME` with the value of an ARG before the first stage."""
    for word in split(rest, escape):
        name, given, value = word.partition("=")
        if given:
            into[name] = expand(value, into, escape)
        elif name in inherited:
            into[name] = inherited[name]


def _environment(rest: str, escape: str, into: dict[str, str]) -> None:
    """Add the values of ENV: `NAME=value …`, or `NAME value`, in which the rest of the line is the value."""
    words = split(rest, escape)
    if words and "=" not in words[0]:
        words = [f"{words[0]}={' '.join(words[1:])}"]
    into |= {name: expand(value, into, escape) for name, _, value in (word.partition("=") for word in words)}


def _copied(rest: str, escape: str, variables: Mapping[str, str], before: list[Stage]) -> Iterator[str]:
    """The images from outside in `--from=` and `--mount=…,from=`."""
    for flag in _flags(rest, escape)[0]:
        name, _, value = expand(flag, variables, escape).removeprefix("--").partition("=")
        fields = [part.partition("=") for part in value.split(",")] if name.lower() == "mount" else []
        named = [value] if name.lower() == "from" else [where for key, _, where in fields if key.lower() == "from"]
        for image in named:
            stage = image.isdecimal() or image.lower() in {earlier.name for earlier in before}
            if image and image != SCRATCH and not stage:
                yield image


def _flags(rest: str, escape: str) -> tuple[list[str], list[str]]:
    """The flags at the beginning, and the words after them."""
    words = split(rest, escape)
    count = next((i for i, word in enumerate(words) if not word.startswith("--") or word == "--"), len(words))
    return words[:count], words[count:]


_DIRECTIVE = re.compile(r"^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_KNOWN = ("escape", "syntax", "check")
_WITH_HEREDOCS = re.compile(r"(?:ONBUILD\s+)?(?:ADD|COPY|RUN)\b", re.IGNORECASE)


def _directives(text: str) -> tuple[tuple[str, ...], str]:
    """The lines of directives at the top, and the escape character. The first comment that is none ends them."""
    found: dict[str, str] = {}
    escape = "\\"
    for line in text.removeprefix("\ufeff").split("\n"):
        matched = _DIRECTIVE.match(line.strip())
        if not matched or matched[1].lower() not in _KNOWN:
            break
        key, value = matched[1].lower(), matched[2]
        if key in found:
            raise BadInput(f"the Dockerfile says '{line.strip()}': expected one directive {key}")
        found[key] = line.strip()
        if key == "escape":
            if value not in ("\\", "`"):
                raise BadInput(f"the Dockerfile says '{line}': expected \\ or ` as the escape character")
            escape = value
    return tuple(found.values()), escape


def _instructions(text: str, escape: str) -> Iterator[str]:
    """The instructions without comments and heredocs, with continued lines joined, and one blank after the keyword."""
    mark = re.escape(escape)
    goes_on = re.compile(rf"(?:(?<=[^{mark}])|^){mark}[ \t]*$")
    lines = iter(text.removeprefix("\ufeff").split("\n"))
    for first in lines:
        line = first.rstrip("\r")
        if line.lstrip().startswith("#") or not line.strip():
            continue
        line = line.lstrip()
        while more := goes_on.search(line):
            line = line[: more.start()]
            following = _continuation(lines)
            if following is None:
                break
            line += following
        instruction = " ".join(line.split(None, 1)).strip()
        if _WITH_HEREDOCS.match(instruction):
            for name, tabs in heredocs(instruction, escape):
                _skip(lines, name, tabs)
        if instruction:
            yield instruction


def _continuation(lines: Iterator[str]) -> str | None:
    """The next line that is neither a comment nor empty; None at the end."""
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            return line.rstrip("\r")
    return None


def _skip(lines: Iterator[str], name: str, tabs: bool) -> None:
    """Skip to the end of a heredoc. Raises BadInput if it has none."""
    for line in lines:
        line = line.rstrip("\r")
        if (line.lstrip("\t") if tabs else line) == name:
            return
    raise BadInput(f"the Dockerfile has a heredoc without its end {name}")
