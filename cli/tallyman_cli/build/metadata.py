"""Reads buildx's metadata file of a build: the images that it used, each with its digest."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from tallyman_cli.build.dockerfile import Base

_PROVENANCE = "buildx.build.provenance"


def bases(file: Path) -> tuple[Base, ...]:
    """The images in a metadata file; none if there is no such file, or it names none (before buildx 0.14, or with a
    BuildKit that keeps no history)."""
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return ()
    if not isinstance(found, Mapping):
        return ()
    statements = [value for key, value in found.items() if key.partition("/")[0] == _PROVENANCE]
    images = (image for statement in statements for image in _images(statement))
    return tuple(dict.fromkeys(images))


def _images(statement: Any) -> Iterator[Base]:
    """The images in a predicate of SLSA 0.2 (`materials`) or 1.0 (`resolvedDependencies`), bare or in a statement."""
    for document in (statement, _within(statement, "predicate")):
        listed = _within(document, "materials") or _within(_within(document, "buildDefinition"), "resolvedDependencies")
        for each in listed if isinstance(listed, list) else ():
            if base := _image(_within(each, "uri"), _within(_within(each, "digest"), "sha256")):
                yield base


def _image(uri: Any, sha256: Any) -> Base | None:
    """`pkg:docker/NAME@TAG?digest=…&platform=…` as an image; None for sources of other kinds."""
    if not isinstance(uri, str) or not uri.startswith("pkg:docker/"):
        return None
    path, _, query = uri.removeprefix("pkg:docker/").partition("?")
    name, _, tag = path.partition("@")
    pinned = parse_qs(query).get("digest", [""])[0]
    digest = pinned or (f"sha256:{sha256}" if isinstance(sha256, str) and sha256 else "")
    image = unquote(name) + (f":{unquote(tag)}" if tag and not tag.startswith("sha256:") else "")
    return Base(image, digest or None)


def _within(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None
