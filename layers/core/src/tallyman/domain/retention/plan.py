"""Which images of a repository stay or are removed, and why: a pure function of policy, inventory, usage, facts, time.

A kept index keeps its children, a kept image its referrers. A shared child stays while any kept index lists it, but
does not itself keep other indexes. A needed image (in use, released, frozen, waiting for a promotion) protects every
index above it, and what these hold. A removed image takes along the children and referrers that no kept image needs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tallyman.domain.images.versions import parse_version
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy, Removal, Retention, format_duration
from tallyman.domain.retention.inputs import Cause, Refusal, RetentionInputs
from tallyman.domain.retention.inventory import Inventory, Links, millis, moment
from tallyman.domain.retention.protections import Protected, Why, lift, protect
from tallyman.domain.retention.rules import named_by_rules
from tallyman.domain.usage import Reading
from tallyman.values import value

KEEP, REMOVE = "keep", "remove"
_DEEPEST = 64
"""The most levels of an image graph that the order of removals distinguishes."""

# Codes for why an image stays or is removed; it is removed by those from _GOES on.
_FOLLOWS, _RULED, _PROTECTED, _NO_RULES, _UNTAGGED, _UNTAGGED_YOUNG, _NEEDED, _WHOLE, _REFUSED, _STORED = range(10)
_GOES, _UNNAMED, _OLD, _WITH, _BEGUN = 10, 10, 11, 12, 13


@value
class PlannedImage:
    """The plan for one image. `kind`: index, image, attestation or artifact. `family`: the digest of the index or
    subject at the top of its image graph, or its own. `size`: compressed bytes. `protections`: those of the image and
    of its whole repository."""

    digest: Digest
    tags: tuple[str, ...]
    kind: str
    family: Digest
    pushed_at: datetime
    pulled_at: datetime | None
    size: int
    archived: bool
    action: str
    reason: str
    protections: tuple[Why, ...]


@dataclass(slots=True)
class Plan:
    """The plan for every image of a repository. `removed`: the rows to remove, indexes before the images that they
    list. `freed_bytes`: the bytes of layers that only removed images have. `refusals`: why the plan must not be carried
    out now."""

    inventory: Inventory
    policy: Digest
    retention: Retention
    now: datetime
    links: Links
    protected: Protected
    codes: bytearray
    named: Sequence[int]
    removed: list[int] = field(default_factory=list)
    freed_bytes: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def refused(self) -> list[str]:
        """The refusals in words."""
        return [refusal.text for refusal in self.refusals]

    def goes(self, digest: str) -> bool:
        """Whether the plan removes the image."""
        row = self.inventory.rows.get(digest)
        return row is not None and self.codes[row] >= _GOES

    @property
    def begun(self) -> frozenset[Digest]:
        """The images to remove because an earlier run removed their index or subject."""
        return frozenset(self.inventory.digest(row) for row in self.removed if self.codes[row] == _BEGUN)

    def images(self) -> Iterator[PlannedImage]:
        """Every image: the newest image graph first, its top image before the others; of one time, the newest version
        first."""
        inventory = self.inventory
        pushed, digests = inventory.pushed, inventory.digests
        heads = [self._head(row) for row in range(len(digests))]
        order = {head: (-pushed[head], _newest_first(inventory.tags[head]), digests[head]) for head in set(heads)}
        for row in sorted(
            range(len(digests)), key=lambda row: (order[heads[row]], heads[row] != row, -pushed[row], digests[row])
        ):
            yield self.image(row)

    def image(self, row: int) -> PlannedImage:
        """The plan for the row's image."""
        inventory = self.inventory
        pulled = inventory.pulled[row]
        return PlannedImage(
            digest=inventory.digest(row),
            tags=inventory.tags[row],
            kind=self._kind(row),
            family=inventory.digest(self._head(row)),
            pushed_at=moment(inventory.pushed[row]),
            pulled_at=moment(pulled) if pulled >= 0 else None,
            size=inventory.sizes[row],
            archived=bool(inventory.archived[row]),
            action=REMOVE if self.codes[row] >= _GOES else KEEP,
            reason=self.reason(row),
            protections=self.protections(row),
        )

    def protections(self, row: int) -> tuple[Why, ...]:
        """The protections of the row: its own, those through images that it lists, and those of the repository."""
        return (*self.protected.rows.get(row, ()), *self.protected.whole)

    def reason(self, row: int) -> str:
        """The rule or protection that decided, in words."""
        retention, code = self.retention, self.codes[row]
        if code == _RULED:
            number = self.named[row] - 1
            rules = retention.keep or ()
            return f"keep[{number}]: {rules[number]}" if number < len(rules) else f"at_least {retention.at_least}"
        if code == _PROTECTED:
            name, why = self.protected.rows[row][0]
            return f"{name}: {why}"
        if code == _WHOLE:
            name, why = self.protected.whole[0]
            return f"{name}: {why}"
        if code == _REFUSED:
            return f"usage is not known: {self.protected.refused[0].text}"
        if code in (_NEEDED, _WITH):
            return self._with(row, code)
        age = format_duration(retention.untagged_remove_after or timedelta())
        return {
            _NO_RULES: "the policy has no keep rules: tagged images stay",
            _UNTAGGED: "untagged, and the policy does not say when such go",
            _UNTAGGED_YOUNG: f"untagged since less than {age}",
            _STORED: "it is archived already",
            _UNNAMED: "no keep rule names any of its tags",
            _OLD: f"untagged and pushed more than {age} ago",
            _BEGUN: "what it was marked with is removed already",
        }[code]

    def _with(self, row: int, code: int) -> str:
        digests = self.inventory.digests
        holders = self.links.holders(row)
        alike = [h for h in holders if (self.codes[h] < _GOES) is (code == _NEEDED)] or holders
        holder, at = min((digests[h], h) for h in alike)
        verb = "is listed by" if at in self.links.above.get(row, ()) else "refers to"
        return f"{verb} {holder[:19]}, which {'stays' if code == _NEEDED else 'goes'}"

    def _kind(self, row: int) -> str:
        inventory = self.inventory
        if inventory.indexes[row]:
            return "index"
        if inventory.digests[row] in inventory.attestations:
            return "attestation"
        return "artifact" if row in inventory.artifacts or row in self.links.about else "image"

    def _head(self, row: int) -> int:
        """The index or subject at the top of the row's image graph; of several, one that stays, with the least
        digest."""
        digests, codes, seen = self.inventory.digests, self.codes, {row}
        while holders := [h for h in self.links.holders(row) if h not in seen]:
            row = min(holders, key=lambda h: (codes[h] >= _GOES, digests[h]))
            seen.add(row)
        return row


def _newest_first(tags: tuple[str, ...]) -> tuple[Any, ...]:
    """A sort key: images by their newest version, the newest first; then images without a version, by tag."""
    versions = [version.precedence for tag in tags if (version := parse_version(tag)) is not None]
    return (0, _Backwards(max(versions)), tags) if versions else (1, tags)


class _Backwards(NamedTuple):
    """A sort key in reverse order."""

    key: Any

    def __lt__(self, other: "_Backwards") -> bool:  # type: ignore[override]
        return bool(other.key < self.key)


def plan_retention(
    policy: Policy, inventory: Inventory, usage: Iterable[Reading], facts: RetentionInputs, now: datetime
) -> Plan:
    """The policy's plan for every image of a repository at `now`.

    Pure; independent of the order of images, uses and facts. Time linear in the number of images, tags, layers and
    links between images: a million images take some seconds, and one to three bytes each besides the inventory.
    """
    return plan_with(policy.repository(inventory.name).retention, policy.digest, inventory, usage, facts, now)


def plan_with(
    retention: Retention,
    policy: Digest,
    inventory: Inventory,
    usage: Iterable[Reading],
    facts: RetentionInputs,
    now: datetime,
) -> Plan:
    """The same with these rules; `policy`: the digest of the policy that has them."""
    links = inventory.links()
    protected = protect(inventory, retention, tuple(usage), facts, now)
    for row, why in list(lift(protected.rows, links.above, inventory.digests)):
        protected.add(row, *why)
    named = named_by_rules(inventory, retention, facts, millis(now))
    orphan = _Orphans(inventory, retention, facts, millis(now))
    codes = _own(inventory, retention, links, protected, named, orphan)
    _judge_circles(links, codes, orphan)
    _keep_below(links, codes)
    if retention.action is Removal.ARCHIVE:
        for row, archived in enumerate(inventory.archived):
            if archived and codes[row] >= _GOES:
                codes[row] = _STORED
    blocked = _WHOLE if protected.whole else _REFUSED if protected.refused else 0
    removed = [row for row, code in enumerate(codes) if code >= _GOES]
    if blocked:
        for row in removed:
            codes[row] = blocked
        removed = []
    plan = Plan(inventory, policy, retention, now, links, protected, codes, named, refusals=[*protected.refused])
    plan.removed = _in_order(inventory, links, removed)
    plan.freed_bytes = _freed(inventory, removed, codes)
    if problem := retention.too_many(len(removed), len(inventory)):
        plan.refusals.append(Refusal(Cause.TOO_MANY, "", problem))
    return plan


def _own(
    inventory: Inventory,
    retention: Retention,
    links: Links,
    protected: Protected,
    named: Sequence[int],
    orphan: "_Orphans",
) -> bytearray:
    """The code of each image by its own tags, age and protections; _FOLLOWS where its indexes or subjects decide."""
    codes = bytearray(len(inventory))
    guarded, above, about = protected.rows, links.above, links.about
    rules = retention.keep is not None
    for row, tags in enumerate(inventory.tags):
        if row in guarded:
            codes[row] = _PROTECTED
        elif named[row]:
            codes[row] = _RULED
        elif tags:
            if (row in about or row in orphan.begun) and tags[0].startswith("sha256-") and inventory.tag_subjects(row):
                codes[row] = _FOLLOWS if row in about else _BEGUN
            else:
                codes[row] = _UNNAMED if rules else _NO_RULES
        elif row not in above and row not in about:
            codes[row] = orphan(row)
    return codes


class _Orphans:
    """The code of untagged images without an index or subject."""

    def __init__(self, inventory: Inventory, retention: Retention, facts: RetentionInputs, now: int) -> None:
        self.begun = {row for digest in facts.begun if (row := inventory.rows.get(digest)) is not None}
        after = retention.untagged_remove_after
        self._since = None if after is None else now - after // timedelta(milliseconds=1)
        self._pushed = inventory.pushed

    def __call__(self, row: int) -> int:
        if row in self.begun:
            return _BEGUN
        if self._since is None:
            return _UNTAGGED
        return _OLD if self._pushed[row] <= self._since else _UNTAGGED_YOUNG


def _judge_circles(links: Links, codes: bytearray, orphan: _Orphans) -> None:
    """Judge untagged images that only refer to each other in a circle by their own age, as those without a subject."""
    if not links.below or _FOLLOWS not in codes:
        return
    reached = bytearray(len(codes))
    waiting = [row for row in links.below if codes[row] != _FOLLOWS]
    below = links.below
    while waiting:
        for each in below.get(waiting.pop(), ()):
            if codes[each] == _FOLLOWS and not reached[each]:
                reached[each] = 1
                waiting.append(each)
    for row, code in enumerate(codes):
        if code == _FOLLOWS and not reached[row]:
            codes[row] = orphan(row)


def _keep_below(links: Links, codes: bytearray) -> None:
    """Keep what kept images hold, and remove all else that follows others. Iterative, so that any depth is possible."""
    below = links.below
    waiting = [row for row in below if _FOLLOWS < codes[row] < _GOES]
    while waiting:
        for each in below.get(waiting.pop(), ()):
            if codes[each] == _FOLLOWS or codes[each] >= _GOES:
                codes[each] = _NEEDED
                waiting.append(each)
    at = codes.find(_FOLLOWS)
    while at >= 0:
        codes[at] = _WITH
        at = codes.find(_FOLLOWS, at + 1)


def _in_order(inventory: Inventory, links: Links, removed: list[int]) -> list[int]:
    """The removed rows: indexes before the images that they list, and subjects before their referrers, at any depth;
    then by digest. A run that ends in between never leaves an image without its signature."""
    below, indexes, digests = links.below, inventory.indexes, inventory.digests
    depth = dict.fromkeys(removed, 0)
    waiting = [row for row in removed if row in below]
    rounds = 0
    while waiting and rounds <= len(removed):
        rounds += 1
        lower = set()
        for row in waiting:
            under = depth[row] + 1
            for at in below[row]:
                if (known := depth.get(at)) is not None and known < under <= _DEEPEST:
                    depth[at] = under
                    if at in below:
                        lower.add(at)
        waiting = list(lower)
    levels: dict[tuple[int, bool], list[int]] = {}
    for row, level in depth.items():
        levels.setdefault((level, not indexes[row]), []).append(row)
    return [row for level in sorted(levels) for row in sorted(levels[level], key=digests.__getitem__)]


def _freed(inventory: Inventory, removed: list[int], codes: bytearray) -> int:
    """The bytes of the layers that only removed images have, each layer counted once."""
    if not removed:
        return 0
    layers, sizes = inventory.layers_of, inventory.layer_sizes
    counted = bytearray(len(sizes))
    for row, code in enumerate(codes):
        if code < _GOES:
            for layer in layers(row):
                counted[layer] = 1
    freed = 0
    for row in removed:
        for layer in layers(row):
            if not counted[layer]:
                counted[layer] = 1
                freed += sizes[layer]
    return freed
