"""All images of one repository, in columns: a million of them take about half a gigabyte.

An image is the number of its row. Relations (an index's children, a referrer's subject) are stored as digests until
`links` is called, because a page of the listing may name images of later pages.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tallyman.domain.images.details import ImageDetail
from tallyman.domain.images.manifest import INDEX_TYPES, MANIFEST_TYPES, Manifest
from tallyman.domain.images.verification import CONFIG_TYPES
from tallyman.domain.names import Digest, Repository
from tallyman.errors import BadManifest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLI = timedelta(milliseconds=1)
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")
_ABOUT = re.compile(r"sha256-([0-9a-f]{64})(?:[.][a-z]+)?")
NEVER = -1
_NOTHING = array("I")


class Links(NamedTuple):
    """Relations by row: its children and referrers (`below`), the indexes that list it (`above`), and its subjects
    (`about`)."""

    below: dict[int, list[int]]
    above: dict[int, list[int]]
    about: dict[int, list[int]]

    def holders(self, row: int) -> list[int]:
        """The indexes that list the row, and its subjects."""
        return [*self.above.get(row, ()), *self.about.get(row, ())]


def millis(moment: datetime) -> int:
    """The milliseconds from 1970 to the moment."""
    return (moment - _EPOCH) // _MILLI


def moment(value: int) -> datetime:
    """The moment `value` milliseconds after 1970 began."""
    return _EPOCH + value * _MILLI


def subject_of_tag(tag: str) -> str | None:
    """The subject of a tag such as `sha256-<hex>.sig`, under which tools store signatures without referrers; None:
    another tag."""
    found = _ABOUT.fullmatch(tag) if tag.startswith("sha256-") else None
    return f"sha256:{found[1]}" if found else None


class Inventory:
    """The images of a repository. Fill it with `add` for each image and `describe` for each manifest, in any order.

    `name`: the repository's canonical name; `environment`: the one that it belongs to, None: none.
    """

    def __init__(self, repository: Repository, name: str | None = None, environment: str | None = None) -> None:
        self.repository, self.name, self.environment = repository, name or repository.name, environment
        self.digests: list[str] = []
        self.rows: dict[str, int] = {}
        self.tags: list[tuple[str, ...]] = []
        self.pushed = array("q")  # milliseconds since 1970
        self.pulled = array("q")  # NEVER, or milliseconds since 1970
        self.sizes = array("q")
        self.indexes = bytearray()  # 1: an index
        self.archived = bytearray()  # 1: in ECR's archive
        self.media_types: dict[int, str] = {}  # of archived images
        self.subjects: dict[int, str] = {}
        self.children: dict[int, Sequence[str]] = {}
        self.attestations: set[str] = set()
        self.artifacts: set[int] = set()
        self.unread: dict[int, str] = {}  # why a row's manifest is not known; it may list any image
        self.layer_sizes = array("q")
        self._layer_ids: dict[int, int] = {}
        self._held = array("I")  # numbers of layers, image by image
        self._begins = array("q")  # by row: its first position in `_held`; NEVER: its manifest is not known
        self._ends = array("q")

    def __len__(self) -> int:
        return len(self.digests)

    def add(self, detail: ImageDetail) -> int:
        """Add one image as the registry lists it; return its row. A digest that was added before keeps its row."""
        row = self.add_raw(
            detail.digest,
            detail.tags,
            millis(detail.pushed_at),
            detail.size or 0,
            is_index=detail.media_type in INDEX_TYPES,
            pulled=millis(detail.pulled_at) if detail.pulled_at else NEVER,
            archived=detail.archived,
            subject=detail.subject,
        )
        if detail.archived and detail.media_type:
            self.media_types[row] = detail.media_type
        if detail.media_type not in MANIFEST_TYPES:
            self.unread.setdefault(row, "its media type is not known")
        return row

    def add_raw(  # noqa: PLR0913 - a row's columns, plain: a value a row costs too much for a million of them
        self,
        digest: str,
        tags: Iterable[str],
        pushed: int,
        size: int,
        *,
        is_index: bool = False,
        pulled: int = NEVER,
        archived: bool = False,
        subject: str | None = None,
    ) -> int:
        """The same from plain values: times in milliseconds since 1970, `size` in bytes."""
        known = self.rows.get(digest)
        if known is not None:
            return known
        row = len(self.digests)
        self.rows[digest] = row
        self.digests.append(digest)
        self.tags.append(tuple(sorted(tags)))
        self.pushed.append(pushed)
        self.pulled.append(pulled)
        self.sizes.append(size)
        self.indexes.append(is_index)
        self.archived.append(archived)
        self._begins.append(NEVER)
        self._ends.append(NEVER)
        if subject is not None:
            self.subjects[row] = subject
        if is_index:
            self.unread[row] = "its manifest was not read"
        return row

    def describe(self, digest: str, manifest: Manifest | None, why: str = "") -> None:
        """Add what the manifest says; None: it can't be read, and `why`.

        Where a manifest does not parse, every digest in its bytes counts as a child, so that rather too much stays.
        """
        row = self.rows.get(digest)
        if row is None:
            return
        if manifest is None:
            if self.indexes[row] or row in self.unread:
                self.unread[row] = why
            return
        try:
            children = manifest.children
            if manifest.subject is not None:
                self.subjects[row] = manifest.subject.digest
            self.unread.pop(row, None)
            if manifest.is_index:
                self.indexes[row] = 1
                self.children[row] = tuple(child.digest for child in children)
                self.attestations.update(child.digest for child in children if child.is_attestation)
                self._begins[row] = self._ends[row] = 0
            else:
                self.hold(row, ((blob.digest, blob.size) for blob in manifest.blobs))
                if manifest.artifact_type and manifest.artifact_type not in CONFIG_TYPES:
                    self.artifacts.add(row)
        except BadManifest:
            self.unread.pop(row, None)
            named = sorted({found.decode() for found in _DIGEST.findall(manifest.raw)} - {digest})
            self.children[row] = tuple(named)

    def emptied(self) -> "Inventory":
        """A new inventory of the same repository without images, for `recall` from this one. Shares its table of
        layers."""
        new = Inventory(self.repository, self.name, self.environment)
        new.layer_sizes, new._layer_ids, new._held = self.layer_sizes, self._layer_ids, self._held
        new.attestations = self.attestations
        return new

    def recall(self, row: int, before: "Inventory") -> bool:
        """Copy what `before` knows about the manifest of the row's image; return whether it knows it. The manifest of
        a digest never changes."""
        digest = self.digests[row]
        was = before.rows.get(digest)
        if was is None or was in before.unread or before._begins[was] == NEVER:
            return False
        self.unread.pop(row, None)
        self.indexes[row] = before.indexes[was]
        self._begins[row], self._ends[row] = before._begins[was], before._ends[was]
        if was in before.children:
            self.children[row] = before.children[was]
        if was in before.subjects:
            self.subjects[row] = before.subjects[was]
        if was in before.artifacts:
            self.artifacts.add(row)
        return True

    def link(self, row: int, children: Iterable[str]) -> None:
        """Make the row an index that lists these images."""
        self.indexes[row] = 1
        self.unread.pop(row, None)
        self.children[row] = tuple(children)
        self._begins[row] = self._ends[row] = 0

    def hold(self, row: int, blobs: Iterable[tuple[str, int]]) -> None:
        """Set the layers and the configuration of the row's image: the digest and bytes of each."""
        ids, sizes, held = self._layer_ids, self.layer_sizes, self._held
        self._begins[row] = len(held)
        for digest, size in blobs:
            key = int(digest[7:22], 16)  # 60 bits are enough to distinguish layers, in half the memory
            number = ids.get(key)
            if number is None:
                number = ids[key] = len(sizes)
                sizes.append(size)
            held.append(number)
        self._ends[row] = len(held)

    def layers_of(self, row: int) -> "array[int]":
        """The numbers of the layers of the row's image, the positions of their bytes in `layer_sizes`; empty for an
        index."""
        begin = self._begins[row]
        return self._held[begin : self._ends[row]] if begin != NEVER else _NOTHING

    def digest(self, row: int) -> Digest:
        """The row's digest."""
        return Digest(self.digests[row])

    def links(self) -> "Links":
        """The relations between the rows: only with images of the inventory, and none with itself. Time and memory
        linear in the number of links."""
        below: dict[int, list[int]] = {}
        above: dict[int, list[int]] = {}
        about: dict[int, list[int]] = {}
        rows = self.rows
        for row, children in self.children.items():
            there = [found for child in children if (found := rows.get(child)) is not None and found != row]
            if there:
                below[row] = there
                for child in there:
                    above.setdefault(child, []).append(row)
        for row, subject in self._about():
            if subject != row:
                below.setdefault(subject, []).append(row)
                about.setdefault(row, []).append(subject)
        return Links(below, above, about)

    def _about(self) -> Iterator[tuple[int, int]]:
        rows = self.rows
        for row, subject in self.subjects.items():
            if (found := rows.get(subject)) is not None:
                yield row, found
        for row, tags in enumerate(self.tags):
            if tags and tags[0].startswith("sha256-"):
                for about in self.tag_subjects(row):
                    if (found := rows.get(about)) is not None:
                        yield row, found

    def tag_subjects(self, row: int) -> list[str]:
        """The subjects that the row's tags name; empty unless each of its tags names one."""
        found = [subject_of_tag(tag) for tag in self.tags[row]]
        return [] if None in found else [each for each in found if each]
