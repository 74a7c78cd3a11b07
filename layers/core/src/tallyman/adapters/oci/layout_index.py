"""The `index.json` of an OCI layout: its tags and their digests.

Tools write `org.opencontainers.image.ref.name` as a tag (as the specification says) or as a full name
(`docker.io/library/app:v1`: skopeo, podman, rules_oci); it may also be anything else.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tallyman.domain.images.documents import show
from tallyman.domain.images.manifest import Descriptor
from tallyman.domain.names import Digest, parse_tag
from tallyman.errors import BadInput, BadName

REF_NAME = "org.opencontainers.image.ref.name"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]*")


class LayoutIndex:
    """The entries of `index.json`; `rest`: its other keys. Types and tags are computed at first use: a copy that writes
    many images needs none of them. `pointing`: the manifests by their subject, after they were read."""

    def __init__(self, entries: list[dict[str, Any]], rest: Mapping[str, Any] | None = None) -> None:
        self.entries, self.rest = entries, rest or {}
        self.pointing: dict[Digest, list[Descriptor]] | None = None

    @property
    def types(self) -> Mapping[Digest, str]:
        """The media type of each digest; empty where an entry has none."""
        return self._found[0]

    @property
    def tags(self) -> Mapping[str, Digest]:
        """The digest of each tag. A tag alone takes precedence over full names that end with it; a tag of full names
        only, which name different images, is left out."""
        return self._found[1]

    @property
    def odd(self) -> Mapping[str, str]:
        """Other names, and why they are not tags."""
        return self._found[2]

    @cached_property
    def _found(self) -> tuple[dict[Digest, str], dict[str, Digest], dict[str, str]]:
        types: dict[Digest, str] = {}
        exact: dict[str, Digest] = {}
        ends: dict[str, dict[Digest, str]] = {}
        odd: dict[str, str] = {}
        for entry in self.entries:
            name = name_of(entry)
            try:
                digest = Digest.parse(entry.get("digest"))
                media_type = entry.get("mediaType")
                types.setdefault(digest, media_type if isinstance(media_type, str) else "")
                tag = _tag(name)
            except BadName as error:
                if name is not None:
                    odd[name if isinstance(name, str) and name.isprintable() else show(name)] = str(error)
                continue
            if tag is not None and tag == name:
                exact.setdefault(tag, digest)
            elif tag is not None:
                ends.setdefault(tag, {}).setdefault(digest, str(name))
        for tag, found in ends.items():
            if tag not in exact and len(found) > 1:
                odd[tag] = f"is the tag of several images: {', '.join(found.values())}"
        alone = {tag: next(iter(found)) for tag, found in ends.items() if len(found) == 1}
        return types, {**alone, **exact}, odd

    def tagged(self, tag: str) -> Digest | None:
        """The digest of a tag; None: there is no such tag. Raises BadInput where several images have it."""
        if tag not in self.tags and tag in self.odd:
            raise BadInput(f"'{tag}' {self.odd[tag]}: name one by its digest")
        return self.tags.get(tag)


def name_of(entry: Mapping[str, Any]) -> object:
    """The name of an entry as written; None: it has none."""
    annotations = entry.get("annotations")
    return annotations.get(REF_NAME) if isinstance(annotations, dict) else None


def _tag(name: object) -> str | None:
    """The tag in a name; None where there is no name, or a name with only a digest. Raises BadName."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise BadName(f"{show(name)} is not a name")
    whole, at, _ = name.partition("@")
    place, colon, tag = whole.rpartition(":")
    if not colon or "/" in tag:
        if "/" not in whole:
            return None if at else parse_tag(whole)
        if at and _NAME.fullmatch(whole):
            return None
        raise BadName(f"{show(name)} is a name without a tag")
    if not _NAME.fullmatch(place):
        raise BadName(f"{show(name)} is neither a tag nor a full name with one")
    return parse_tag(tag)
