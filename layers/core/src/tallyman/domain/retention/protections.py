"""Protections: why an image must not be removed, whatever the policy says. A proof has the answer for each of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tallyman.domain.policy import Retention, format_duration, glob_matches
from tallyman.domain.retention.inputs import Cause, Refusal, RetentionInputs, concerns
from tallyman.domain.retention.inventory import NEVER, Inventory, millis
from tallyman.domain.times import format_time
from tallyman.domain.usage import Reading, Use, used_tag

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
"""Each protection, and the statement that holds where it applies."""

UPWARD = frozenset({IN_USE, RELEASED, WAITING, FROZEN, PULLED, ELSEWHERE})
"""The protections of an image that also protect every index above it."""

Why = tuple[str, str]
"""The name of a protection, and the reason."""

_NO_END = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class Protected:
    """The protections in a repository. `rows`: those of each row; `whole`: those of the whole repository; `refused`:
    why usage is not known, so that nothing may be removed."""

    rows: dict[int, list[Why]] = field(default_factory=dict)
    whole: list[Why] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def add(self, row: int, name: str, reason: str) -> None:
        """Add a protection of the row, unless it has the same one."""
        there = self.rows.setdefault(row, [])
        if (name, reason) not in there:
            there.append((name, reason))


def protect(
    inventory: Inventory, retention: Retention, usage: Iterable[Reading], inputs: RetentionInputs, now: datetime
) -> Protected:
    """All protections. Time linear in the number of images, uses and releases."""
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
    found.refused = sorted(set(found.refused), key=lambda refusal: refusal.text)
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
                source = f"{reading.source} of {reading.where}"
                found.refused.append(Refusal(Cause.UNREAD, source, f"{source} can't be read: {reading.error}"))
            continue
        for use in reading.uses:
            if use.digest is not None:
                if (row := rows.get(use.digest)) is not None:
                    found.add(row, IN_USE, str(use))
            elif concerns(use, place.name, place.registry):
                _used_by_tag(found, use, tagged, rows, inputs)
    _listed(found, inventory, retention, tagged)


def _listed(found: Protected, inventory: Inventory, retention: Retention, tagged: Mapping[str, int]) -> None:
    """Protect images that the policy's `usage` names, by digest or by a glob of tags."""
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
    """Protect the image that the tag points to now, which the next start uses, and the one that it pointed to when this
    use started."""
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
        text = f"{use} started at {format_time(use.since)} from the tag {tag}: what that was is not known"
        found.refused.append(Refusal(Cause.START, f"{use} {tag}", text))
    elif (row := rows.get(then)) is not None and row != now:
        found.add(
            row, IN_USE, f"{use}, started at {format_time(use.since)} from the tag {tag}, which pointed here then"
        )


def _recent(
    found: Protected, inventory: Inventory, retention: Retention, inputs: RetentionInputs, now: datetime
) -> None:
    """Protect young images (setting a tag makes an image young again), and those that were pulled recently."""
    at, grace = millis(now), retention.grace // timedelta(milliseconds=1)
    text = f"younger than the grace period of {format_duration(retention.grace)}"
    since = at - grace
    for row, pushed in enumerate(inventory.pushed):
        if pushed > since:  # also without grace: by a clock that is ahead, the push may lie in the future
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
    """The protections of indexes above protected images: (row, why) for each.

    Iterative; each index is visited once, for the first reason that reaches it.
    """
    waiting: list[tuple[int, Why, bool]] = []  # True: the reason names an image beneath already
    for row, whys in rows.items():
        if row in above:
            waiting.extend((row, why, False) for why in whys[:1] if why[0] in UPWARD)
            waiting.extend((row, why, False) for why in whys[1:] if why[0] in UPWARD and whys[0][0] not in UPWARD)
    waiting.sort(key=lambda pair: (digests[pair[0]], pair[1]), reverse=True)  # independent of the order of reading
    reached: set[int] = set()
    while waiting:
        row, (name, reason), lifted = waiting.pop()
        for index in sorted(above.get(row, ()), key=digests.__getitem__):
            if index not in reached:
                reached.add(index)
                why = (name, reason if lifted else f"of its {digests[row][:19]}: {reason}")
                yield index, why
                waiting.append((index, why, True))
