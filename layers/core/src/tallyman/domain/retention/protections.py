"""What no policy can remove: who needs an image, and why. The answer for each protection is part of a proof."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tallyman.domain.policy import Retention, format_duration, glob_matches
from tallyman.domain.retention.inputs import Reading, RetentionInputs, concerns, used_tag
from tallyman.domain.retention.inventory import NEVER, Inventory, millis
from tallyman.domain.times import format_time
from tallyman.domain.usage import Use

IN_USE, RELEASED, WAITING, FROZEN = "in_use", "released", "waiting", "frozen"
YOUNG, PULLED, ELSEWHERE, UNREAD = "young", "pulled", "elsewhere", "unread"

PROTECTIONS = {
    IN_USE: "something runs it, or is set up to",
    RELEASED: "an environment runs it, or did so recently enough to roll back to it",
    WAITING: "it waits for a promotion",
    FROZEN: "its environment is frozen",
    YOUNG: "it is younger than the grace period",
    PULLED: "it was pulled recently",
    ELSEWHERE: "its removal would reach another region that holds it",
    UNREAD: "its manifest, or that of an index that could list it, can't be read",
}
"""Every protection, and the question that it answers."""

UPWARD = frozenset({IN_USE, RELEASED, WAITING, FROZEN, PULLED, ELSEWHERE})
"""Those that also protect every index above an image."""

Why = tuple[str, str]
"""The name of a protection, and the reason."""

_NO_END = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class Protected:
    """`rows`: what protects which row by itself. `whole`: what protects the whole repository. `refused`: why nothing
    may be removed, as a source of usage can't be read."""

    rows: dict[int, list[Why]] = field(default_factory=dict)
    whole: list[Why] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def add(self, row: int, name: str, reason: str) -> None:
        """Notes one; the same one twice is one."""
        there = self.rows.setdefault(row, [])
        if (name, reason) not in there:
            there.append((name, reason))


def protect(
    inventory: Inventory, retention: Retention, usage: Iterable[Reading], inputs: RetentionInputs, now: datetime
) -> Protected:
    """What protects what. As many steps as there are images, uses and releases."""
    found = Protected()
    _used(found, inventory, retention, usage, inputs)
    _released(found, inventory, retention, inputs, now)
    rows = inventory.rows
    for name, reasons in ((WAITING, inputs.waiting), (ELSEWHERE, inputs.elsewhere)):
        for digest, reason in reasons.items():
            if (row := rows.get(digest)) is not None:
                found.add(row, name, reason)
    found.whole.extend((FROZEN, reason) for reason in inputs.frozen)
    _recent(found, inventory, retention, inputs, now)
    for row, why in inventory.unread.items():
        found.add(row, UNREAD, f"what it lists is not known: {why}")
        found.whole.append((UNREAD, f"{inventory.digests[row][:19]} may list it: {why}"))
    found.whole = sorted(set(found.whole))
    found.refused = sorted(set(found.refused))
    for whys in found.rows.values():
        whys.sort()
    return found


def _released(
    found: Protected, inventory: Inventory, retention: Retention, inputs: RetentionInputs, now: datetime
) -> None:
    """One reason for each environment: that it runs the image, or else until when it last did."""
    for digest, releases in inputs.releases.items():
        if (row := inventory.rows.get(digest)) is None:
            continue
        by_end = sorted(releases, key=lambda each: each.until or _NO_END)
        for release in {each.environment: each for each in by_end}.values():
            if release.until is None:
                found.add(row, RELEASED, f"{release.environment} runs it since {format_time(release.since)}")
            elif now - release.until < retention.roll_back:
                found.add(row, RELEASED, f"{release.environment} ran it until {format_time(release.until)}")


def _used(
    found: Protected, inventory: Inventory, retention: Retention, usage: Iterable[Reading], inputs: RetentionInputs
) -> None:
    place, rows = inventory.repository, inventory.rows
    tagged = {tag: row for row, tags in enumerate(inventory.tags) for tag in tags} if usage or retention.usage else {}
    for reading in usage:
        if reading.error is not None:
            if reading.reaches(place.registry):
                found.refused.append(f"{reading.source} of {reading.where} can't be read: {reading.error}")
            continue
        for use in reading.uses:
            if use.digest is not None:
                if (row := rows.get(use.digest)) is not None:
                    found.add(row, IN_USE, str(use))
            elif concerns(use, place.name, place.registry):
                _used_by_tag(found, use, tagged, rows, inputs)
    _listed(found, inventory, retention, tagged)


def _listed(found: Protected, inventory: Inventory, retention: Retention, tagged: Mapping[str, int]) -> None:
    """Images that the policy's own list of usage names, by digest or by a pattern of tags."""
    for entry in retention.usage:
        if entry.startswith("sha256:"):
            if (row := inventory.rows.get(entry)) is not None:
                found.add(row, IN_USE, f"the policy's list of usage names {entry[:19]}")
        else:
            for tag, row in tagged.items():
                if glob_matches(entry, tag):
                    found.add(row, IN_USE, f"the policy's list of usage names {entry}")


def _used_by_tag(
    found: Protected, use: Use, tagged: dict[str, int], rows: dict[str, int], inputs: RetentionInputs
) -> None:
    """What the tag points to now, as the next start takes that, and what it pointed to when this one started."""
    tag = used_tag(use)
    if tag is None:
        return
    now = tagged.get(tag)
    if now is not None:
        found.add(now, IN_USE, f"{use} by the tag {tag}")
    if use.since is None:
        return
    then = inputs.started.get((tag, use.since))
    if then is None:
        found.refused.append(
            f"{use} started at {format_time(use.since)} from the tag {tag}: what that was is not known"
        )
    elif (row := rows.get(then)) is not None and row != now:
        found.add(
            row, IN_USE, f"{use}, started at {format_time(use.since)} from the tag {tag}, which pointed here then"
        )


def _recent(
    found: Protected, inventory: Inventory, retention: Retention, inputs: RetentionInputs, now: datetime
) -> None:
    """Young images (a tag that was set anew makes one young again), and those pulled of late."""
    at, grace = millis(now), retention.grace // timedelta(milliseconds=1)
    text = f"younger than the grace period of {format_duration(retention.grace)}"
    since = at - grace
    for row, pushed in enumerate(inventory.pushed):
        if pushed > since:  # without grace too: by a clock that is ahead it is not even pushed yet
            found.add(row, YOUNG, text)
    for digest, moved in inputs.moved.items():
        row_of = inventory.rows.get(digest)
        if row_of is not None and millis(moved) > since:
            found.add(row_of, YOUNG, f"a tag was set to it at {format_time(moved)}: {text}")
    if retention.pulled_within:
        since = at - retention.pulled_within // timedelta(milliseconds=1)
        text = f"pulled within {format_duration(retention.pulled_within)}"
        for row, pulled in enumerate(inventory.pulled):
            if pulled != NEVER and pulled > since:
                found.add(row, PULLED, text)


def lift(rows: dict[int, list[Why]], above: dict[int, list[int]], digests: list[str]) -> Iterator[tuple[int, Why]]:
    """What protects the indexes above protected images: (row, why) for each that is not protected so itself yet.

    An iterative walk; each index is visited once for the first reason that reaches it.
    """
    waiting: list[tuple[int, Why]] = []
    for row, whys in rows.items():
        if row in above:
            waiting.extend((row, why) for why in whys[:1] if why[0] in UPWARD)
            waiting.extend((row, why) for why in whys[1:] if why[0] in UPWARD and whys[0][0] not in UPWARD)
    waiting.sort(key=lambda pair: (digests[pair[0]], pair[1]), reverse=True)  # no order of reading matters
    reached: set[int] = set()
    while waiting:
        row, (name, reason) = waiting.pop()
        for index in sorted(above.get(row, ()), key=digests.__getitem__):
            if index not in reached:
                reached.add(index)
                why = (name, reason if reason.startswith("of its ") else f"of its {digests[row][:19]}: {reason}")
                yield index, why
                waiting.append((index, why))
