"""What a Dockerfile builds upon, as far as reading it tells."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


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
    for line in _instructions(dockerfile):
        words = [word for word in line.split() if not word.startswith("--")]
        if len(words) > 1 and words[0].upper() == "ARG":
            name, _, default = words[1].partition("=")
            variables[name] = default
        elif len(words) > 1 and words[0].upper() == "FROM":
            image = words[1]
            for name, default in variables.items():
                image = image.replace(f"${{{name}}}", default).replace(f"${name}", default)
            if image != "scratch" and image.lower() not in stages:
                name, _, digest = image.partition("@")
                found.append(Base(name, digest or None))
            if len(words) > 3 and words[2].upper() == "AS":
                stages.add(words[3].lower())
    return tuple(dict.fromkeys(found))


def base_alone(dockerfile: str) -> str | None:
    """A Dockerfile of nothing but what the last stage is built upon, for whoever builds it to find out which layers
    are the base's; variables are left to the builder. None: it builds upon nothing."""
    variables: list[str] = []
    stages: dict[str, str] = {}
    last = ""
    for line in _instructions(dockerfile):
        kind, *words = line.split()
        if kind.upper() == "ARG" and not last:
            variables.append(line)
        elif kind.upper() == "FROM":
            flags = [word for word in words if word.startswith("--")]
            image, *named = [word for word in words if not word.startswith("--")] or ["scratch"]
            last = stages.get(image.lower()) or " ".join(("FROM", *flags, image))
            if len(named) == 2 and named[0].upper() == "AS":
                stages[named[1].lower()] = last
    if not last or last.split()[-1] == "scratch":
        return None
    return "\n".join((*variables, last)) + "\n"


def stands_on(dockerfile: str) -> Base | None:
    """The image that the last stage is built upon; `scratch` is one here. None where only who builds it can say."""
    alone = base_alone(dockerfile)
    if alone is None:
        return Base("scratch", None)
    return next((base for base in bases(alone) if base.image and "$" not in base.image), None)


def _instructions(dockerfile: str) -> Iterator[str]:
    """One a line, without comments; what goes on after a backslash is joined."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\[ \t]*\n", " ", "\n".join(lines)).split("\n"):
        if line.strip():
            yield line.strip()
