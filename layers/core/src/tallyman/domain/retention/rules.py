"""Which images the rules of `keep` name: one pass over the images for all rules, with heaps for each `newest`."""

import heapq
from array import array
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tallyman.domain.images.versions import Version, parse_version
from tallyman.domain.names import Digest
from tallyman.domain.policy import (
    CountedFrom,
    Expression,
    KeepMatches,
    KeepNewerThan,
    KeepNewest,
    KeepTag,
    Per,
    Retention,
    TagRule,
    glob_expression,
)
from tallyman.domain.policy.tags import ANY_TAG
from tallyman.domain.retention.inputs import RetentionInputs
from tallyman.domain.retention.inventory import NEVER, Inventory, millis, subject_of_tag

_parse: Callable[[str], Version | None] = parse_version.__wrapped__  # without its cache, useless for a million tags
Takes = Callable[[str, Version | None], bool]


def named_by_rules(inventory: Inventory, retention: Retention, inputs: RetentionInputs, now: int) -> "array[int]":
    """For each row, the number of the first rule that names it, from 1; 0: none does. `at_least` counts as one more
    rule after the last. `now`: milliseconds since 1970."""
    named = array("H", bytes(2 * len(inventory)))
    rules = list(retention.keep or ())
    if retention.at_least:
        rules.append(KeepNewest(retention.at_least, ANY_TAG))
    newest: list[tuple[int, _Newest]] = []
    tags: list[tuple[int, Takes]] = []
    for number, rule in enumerate(rules, 1):
        match rule:
            case KeepNewest():
                newest.append((number, _Newest(rule)))
            case KeepTag():
                tags.append((number, _takes(rule.tags)))
            case KeepMatches():
                tags.append((number, _matches(rule.matches)))
            case KeepNewerThan():
                _name_young(named, number, rule, inventory, inputs, now)
    if newest or tags:
        _name_tagged(named, inventory, newest, tags)
    return named


def _name_tagged(
    named: "array[int]", inventory: Inventory, newest: list[tuple[int, "_Newest"]], tags: list[tuple[int, Takes]]
) -> None:
    pushed, digests = inventory.pushed, inventory.digests
    for row, own in enumerate(inventory.tags):
        if not own:
            continue
        versions = [(tag, _parse(tag) if tag[0] in "v0123456789" else None) for tag in own]
        for number, takes in tags:
            if named[row] and named[row] < number:
                break  # an earlier rule names it; the rules are in order
            for tag, version in versions:
                if takes(tag, version):
                    _name(named, row, number)
                    break
        for _, rule in newest:
            rule.look(row, versions, pushed[row], digests[row])
    for number, rule in newest:
        for row in rule.rows():
            _name(named, row, number)


def _name(named: "array[int]", row: int, number: int) -> None:
    if not named[row] or number < named[row]:
        named[row] = number


def _name_young(
    named: "array[int]", number: int, rule: KeepNewerThan, inventory: Inventory, inputs: RetentionInputs, now: int
) -> None:
    """Name images by age. An image whose push is young enough is always named: every other event comes after it."""
    since = now - rule.age // timedelta(milliseconds=1)
    for row, pushed in enumerate(inventory.pushed):
        if pushed > since:
            _name(named, row, number)
    if rule.counted_from is CountedFrom.PULL:
        for row, pulled in enumerate(inventory.pulled):
            if pulled != NEVER and pulled > since:
                _name(named, row, number)
        return
    moments: dict[Digest, int] = {}
    if rule.counted_from is CountedFrom.TAG_MOVE:
        moments = {digest: millis(at) for digest, at in inputs.moved.items()}
    elif rule.counted_from is CountedFrom.RELEASE:
        moments = {digest: max(millis(r.since) for r in found) for digest, found in inputs.releases.items() if found}
    for digest, at in moments.items():
        row_of = inventory.rows.get(digest)
        if row_of is not None and at > since:
            _name(named, row_of, number)


class _Newest:
    """The newest images by one rule: a heap for each group, with as many images as the rule keeps.

    Versions are ordered by precedence, then by push; other tags by push; then by digest, so that the order of reading
    does not matter. Versions and other tags are separate groups: nothing shows which of `v2` and `edge` is newer.
    """

    def __init__(self, rule: KeepNewest) -> None:
        self._takes, self._count, self._per = _takes(rule.of), rule.count, rule.per
        self._heaps: dict[Any, list[Any]] = {}

    def look(self, row: int, tags: list[tuple[str, Version | None]], pushed: int, digest: str) -> None:  # noqa: C901 - the inner loop of a plan of a million images: calls cost more than they explain
        """Add one image: it counts once in each group, by its newest tag there."""
        if len(tags) == 1:
            tag, version = tags[0]
            if version is not None and self._takes(tag, version):
                self._offer_version(row, version, pushed, digest)
                return
        best: dict[Any, Any] = {}
        for tag, version in tags:
            if not self._takes(tag, version):
                continue
            key: Any
            group: Any
            if version is None:
                if self._per is not None or (tag.startswith("sha256-") and subject_of_tag(tag)):
                    continue
                group, key = None, (pushed, digest, row)
            else:
                group = self._group(version)
                key = (version.precedence, pushed, digest, row)
            if group not in best or best[group] < key:
                best[group] = key
        for group, key in best.items():
            heap = self._heaps.setdefault(group, [])
            if len(heap) < self._count:
                heapq.heappush(heap, key)
            elif heap[0] < key:
                heapq.heapreplace(heap, key)

    def _offer_version(self, row: int, version: Version, pushed: int, digest: str) -> None:
        """The same for an image with one version, the usual case; most are older than all images in the heap."""
        precedence = version.precedence
        heap = self._heaps.setdefault(self._group(version), [])
        if len(heap) < self._count:
            heapq.heappush(heap, (precedence, pushed, digest, row))
        elif heap[0][0] <= precedence and heap[0] < (key := (precedence, pushed, digest, row)):
            heapq.heapreplace(heap, key)

    def _group(self, version: Version) -> Any:
        if self._per is None:
            return True
        major, minor, _ = version.release
        return (major, minor) if self._per is Per.MINOR else major

    def rows(self) -> list[int]:
        """The rows that the rule keeps."""
        return [key[-1] for heap in self._heaps.values() for key in heap]


def _matches(expression: Expression) -> Takes:
    found = expression.compiled().fullmatch
    return lambda tag, version: found(tag) is not None


def _takes(rule: TagRule) -> Takes:
    """The rule as a function of a tag and its version, so that the version is parsed once for all rules."""
    if rule is ANY_TAG or ("*" in rule.globs and not rule.ranges):
        return lambda tag, version: True
    if rule.ranges:
        return lambda tag, version: version is not None and rule.allows(tag)
    kinds, names = frozenset(rule.kinds), frozenset(rule.names)
    globs = [glob_expression(glob).match for glob in rule.globs]

    def takes(tag: str, version: Version | None) -> bool:
        if version is not None and version.kind in kinds:
            return True
        if tag in names:
            return True
        return any(glob(tag) for glob in globs)

    return takes
