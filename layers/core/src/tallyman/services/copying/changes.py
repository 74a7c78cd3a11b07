"""Finds what has to be copied of a whole repository: tags that a target lacks, and referrers that were added later."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from typing import Protocol

from tallyman.domain.images.manifest import Manifest, readable
from tallyman.domain.images.referrer_tags import may_be_list, subject_of
from tallyman.domain.names import Digest, Location
from tallyman.errors import NotFound, TallymanError
from tallyman.ports.copying import Origin
from tallyman.services.copying.images import Image
from tallyman.values import value


class Catalogue(Protocol):
    """Lists the tags, referrers and manifests of repositories."""

    def names(self, repository: Location) -> dict[str, Digest | None]:
        """All tags of a repository, each with its digest if the list includes digests, else None. NotFound."""

    def digests(self, repository: Location, tags: Sequence[str]) -> dict[str, Digest]:
        """The digests of these tags; tags that are not there are left out."""

    def pointed_at(self, repository: Location) -> Mapping[Digest, frozenset[Digest]]:
        """Subjects with their referrers, as far as the list of `names` shows them without further requests."""

    def odd_names(self, repository: Location) -> Mapping[str, str]:
        """Entries of the list of `names` that are not tags, in a form that can be shown, each with the reason."""

    def pointing(self, repository: Location, subjects: Sequence[Digest]) -> Mapping[Digest, frozenset[Digest]]:
        """The referrers of each of these subjects."""

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        """The manifests by reference, as a target has them; those that are not there are left out."""


@value
class Changed:
    """The images to copy. `listed`: the number of tags in the origin; `empty`: targets without any tag; `seconds`: how
    long the fastest target took to list its tags; `failed`: targets that could not be read; `odd`: names in the origin
    that can't be copied as tags, each with the reason."""

    images: list[Image]
    listed: int
    empty: list[Location]
    seconds: float = 0.0
    failed: Mapping[Location, TallymanError] = field(default_factory=dict)
    odd: Mapping[str, str] = field(default_factory=dict)


NOTHING: dict[str, Digest] = {}
NONE: frozenset[Digest] = frozenset()


def changed(
    catalogue: Catalogue, source: Origin, origin: Location, targets: Sequence[Location], *, every: bool = False
) -> Changed:
    """Find the tags of the origin that are missing or different in some target, and images that every target has but
    whose referrers some target lacks (those have no tag). `every`: returns all images, so that the referrers of each
    are read.

    Cost: the lists of tags. Where a list does not include digests: one request on each side for each tag that all
    targets have too, and one read of each other image. Referrers: see `_later`.
    """
    with ThreadPoolExecutor(len(targets) + 1, thread_name_prefix="list") as pool:
        lists = [pool.submit(_listed, catalogue, target) for target in targets]
        names = catalogue.names(origin)
        fallbacks = _lists(source, origin, names)
        names = {tag: digest for tag, digest in names.items() if tag not in fallbacks}
        odd = dict(catalogue.odd_names(origin))
        failed: dict[Location, TallymanError] = {}
        found: dict[Location, tuple[dict[str, Digest], float]] = {}
        for target, answer in zip(targets, lists, strict=True):
            try:
                listed, seconds = answer.result()
                found[target] = _held(catalogue, target, listed, names), seconds
            except TallymanError as error:
                failed[target] = error
    held = [tags for tags, _ in found.values()]
    if not held:
        return Changed([], len(names), [], failed=failed, odd=odd)
    everywhere = [tag for tag in names if all(tag in tags for tags in held)]
    unsaid = [tag for tag in everywhere if names[tag] is None]
    said = {**names, **(catalogue.digests(origin, unsaid) if unsaid else {})}
    there = {tag for tag in everywhere if all(tags[tag] == said[tag] for tags in held)}
    same = set() if every else there
    wanted = [tag for tag in names if tag not in same]
    unread = [tag for tag in wanted if said[tag] is None]
    read = source.manifests(origin, unread) if unread else {}
    images = []
    for tag in wanted:
        digest = said[tag] or (read[tag].digest if tag in read else None)
        if digest:
            images.append(Image(digest, tag, read.get(tag), not any(tag in tags for tags in held)))
        else:
            odd[tag] = f"{origin} lists this tag, and gives no image for it"
    if same:
        images += _later(catalogue, origin, fallbacks.values(), list(found), {image.digest for image in images}, failed)
    empty = [target for target, (tags, _) in found.items() if tags is NOTHING]
    return Changed(images, len(names), empty, min(seconds for _, seconds in found.values()), failed, odd)


def _later(
    catalogue: Catalogue,
    origin: Location,
    subjects_of_lists: Iterable[Digest],
    targets: Sequence[Location],
    coming: Collection[Digest],
    failed: dict[Location, TallymanError],
) -> list[Image]:
    """The images that a target has, but not with all the referrers that they have in the origin. Images in `coming` are
    left out: they are copied anyway.

    Cost: nothing where both lists include referrers (ECR). Else one request on each side that is not ECR for each
    subject that the origin's list names (a tag of the fallback scheme), and one more for each that lacks referrers.
    """
    listed = {**dict.fromkeys(subjects_of_lists, NONE), **catalogue.pointed_at(origin)}
    subjects = [subject for subject in listed if subject not in coming]
    if not subjects:
        return []
    wanted = catalogue.pointing(origin, subjects)
    lacking: dict[Digest, None] = {}
    for target in targets:
        try:
            has = catalogue.pointing(target, subjects)
            less = [s for s in subjects if s not in lacking and wanted.get(s, NONE) - has.get(s, NONE)]
            there = catalogue.manifests(target, less) if less else {}
        except TallymanError as error:
            failed[target] = error
            continue
        lacking.update(dict.fromkeys(subject for subject in less if subject in there))
    return [Image(subject, None) for subject in lacking]


def _lists(source: Origin, origin: Location, names: Iterable[str]) -> dict[str, Digest]:
    """The tags of the fallback scheme that hold a list of referrers, with their subjects. They are copied with their
    subjects, not as tags. An ordinary image may have a tag of this form too. Cost: one read for each such tag, and one
    more of the list's first entry where the list alone does not decide it."""
    subjects = {tag: subject for tag in names if (subject := subject_of(tag))}
    read = source.manifests(origin, list(subjects)) if subjects else {}
    maybe = {tag: Manifest.parse(m.raw) for tag, m in read.items() if may_be_list(m, subjects[tag]) and readable(m)}
    first = {tag: m.children[0].digest for tag, m in maybe.items() if m.children and not m.children[0].artifact_type}
    entries = source.manifests(origin, list(first.values())) if first else {}
    found = {}
    for tag, subject in subjects.items():
        entry = entries.get(first[tag]) if tag in first else None
        about = entry.subject if entry and readable(entry) else None
        if may_be_list(read.get(tag), subject) and (entry is None or (about and about.digest == subject)):
            found[tag] = subject
    return found


def _listed(catalogue: Catalogue, target: Location) -> tuple[dict[str, Digest | None], float]:
    """The target's tags with their digests, and how many seconds the list took. No repository: no tags."""
    began = time.monotonic()
    try:
        return catalogue.names(target), time.monotonic() - began
    except NotFound:
        return {}, time.monotonic() - began


def _held(
    catalogue: Catalogue, target: Location, there: Mapping[str, Digest | None], names: Mapping[str, object]
) -> dict[str, Digest]:
    """The digests of the target's tags that the origin has too; NOTHING for a target without tags."""
    if not there:
        return NOTHING
    unsaid = [tag for tag, digest in there.items() if digest is None and tag in names]
    said = {tag: digest for tag, digest in there.items() if digest}
    return said | (catalogue.digests(target, unsaid) if unsaid else {})
