"""Judges what a repository holds by its tags, and by annotations and labels: how many applications, which base images.

Pure. Nobody has verified annotations and labels.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tallyman.domain.names import Digest


@dataclass(frozen=True, slots=True)
class Held:
    """An image that tags of the repository point to now. `at`: when the first of them was set; `said`: `source`,
    `title`, `base.name`, `base.digest` and others, from its annotations and labels."""

    digest: Digest
    tags: tuple[str, ...]
    at: datetime
    said: Mapping[str, str]


_VERSIONED = re.compile(r"([a-z][a-z0-9]*(?:[._-][a-z][a-z0-9]*)*)[._-]v?[0-9]+\.[0-9]+\.[0-9]+")
_WORDS = re.compile(r"[._-]")
_WORK = frozenset(("branch", "bugfix", "dependabot", "feature", "fix", "hotfix", "pr", "renovate"))
_STAGES = """
    v ver version rel release rc alpha beta pre preview snapshot nightly canary edge latest lts stable build ci image
    img tag dev develop development test testing qa int staging stage preprod prod production main master trunk"""
_MADE_ON = """
    amd64 arm64 arm arm32 arm64v8 arm32v7 armv7 aarch64 x86 x64 i386 linux windows alpine slim debian ubuntu bookworm
    bullseye buster trixie jammy focal noble distroless scratch ubi rhel centos minimal full debug fips cuda gpu cpu jdk
    jre"""
_NEUTRAL = frozenset((_STAGES + _MADE_ON).split())


def applications(held: Sequence[Held], neutral: Collection[str] = ()) -> list[str]:
    """The names of the applications in a repository, if it evidently holds several; else an empty list.

    There are two kinds of evidence. Tags hold versions (x.y.z) of different names, `api-1.2.0` beside `web-1.2.0`, and
    those images do not all have the same title. Or images of different source repositories (the last part of `source`)
    take turns; a source that replaces another for good was renamed or moved. Words for stages, platforms and base
    systems, and `neutral` (the policy's environments), are not names; tags of branches have no name.
    """
    words = _NEUTRAL | {word.lower() for name in neutral for word in _WORDS.split(name)}
    named: dict[str, list[Held]] = {}
    for image in held:
        for tag in image.tags:
            if name := _name(tag, words):
                named.setdefault(name, []).append(image)
    if len(named) > 1:
        titles = {image.said.get("title") for images in named.values() for image in images}
        if None in titles or len(titles) > 1:
            return sorted(named)
    return _taking_turns(held)


def _name(tag: str, words: Collection[str]) -> str:
    found = _VERSIONED.match(tag.lower())
    said = _WORDS.split(found[1]) if found else []
    return "" if _WORK.intersection(said) else "-".join(word for word in said if word not in words)


def _taking_turns(held: Sequence[Held]) -> list[str]:
    times: dict[str, list[datetime]] = {}
    for image in held:
        if source := _last_part(image.said.get("source", "")):
            times.setdefault(source, []).append(image.at)
    several = {
        name
        for one, mine in times.items()
        for other, theirs in times.items()
        if one != other and min(mine) < max(theirs) and min(theirs) < max(mine)
        for name in (one, other)
    }
    return sorted(several)


def _last_part(source: str) -> str:
    """The last part of a source repository's address, which a fork or a move to another owner keeps."""
    plain = source.partition("#")[0].partition("?")[0].rstrip("/").removesuffix(".git")
    return re.split(r"[/:]", plain)[-1].lower()


@dataclass(frozen=True, slots=True)
class Bases:
    """The base images of a repository's images. `counts`: how many images build on each; `outside`: base images that
    come from registries of others; `unreported`: images that name none; `unpinned`: named without a digest."""

    counts: Mapping[str, int]
    outside: tuple[str, ...]
    unreported: int
    unpinned: tuple[str, ...]


def bases(held: Iterable[Held], own: Collection[str]) -> Bases:
    """The base images that the images name. `own`: the hosts of the policy's registries. `scratch` is no image: it is
    neither outside nor unpinned."""
    counts: dict[str, int] = {}
    unpinned: set[str] = set()
    unreported = 0
    for image in held:
        name = image.said.get("base.name")
        if not name:
            unreported += 1
            continue
        name, _, digest = name.partition("@")
        counts[name] = counts.get(name, 0) + 1
        if name != "scratch" and not (digest or image.said.get("base.digest")):
            unpinned.add(name)
    outside = tuple(sorted(name for name in counts if name != "scratch" and host(name) not in own))
    return Bases(dict(sorted(counts.items())), outside, unreported, tuple(sorted(unpinned)))


def of_builds(name: str, names: Collection[str]) -> bool:
    """Whether builds of another repository keep their parts here (`NAME-parts`): mutable, and no rule applies."""
    return name.endswith("-parts") and name.removesuffix("-parts") in names


def host(name: str) -> str:
    """The registry in an image's name, as Docker reads it: without one, docker.io."""
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
