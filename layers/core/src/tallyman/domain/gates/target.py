"""The gate `target`, which every promotion has: each registry of the environment can take the tags without conflict."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, GateResult
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.decisions import Destination, TargetSeen
from tallyman.domain.history.details.promotions import Delayed, Parked
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.policy import glob_matches
from tallyman.domain.times import format_time, parse_time

NAME = "target"
_OF_TARGETS = (Kind.TARGET_SEEN, Kind.DELAYED, Kind.PARKED, Kind.REQUESTED)


def judge(_: object, case: Case) -> GateResult:
    """The verdict by the last read of the targets. Waiting before the first read: a promotion then stages content, but
    sets no tag (docs/promotion.md). `facts["conflicts"]` lists the conflicts."""
    name = case.destination.name
    seen, trouble = _last(case)
    if case.promoted_at is not None:
        return _once_in(case, seen, case.promoted_at)
    if trouble is not None and trouble.kind is Kind.PARKED:
        return GateResult(NAME, FAILED, Parked.parse(trouble).reason, {"parked": format_time(trouble.at)})
    delayed = trouble if trouble is not None and trouble.kind is Kind.DELAYED else None
    if seen is None and delayed is None:
        return GateResult(NAME, WAITING, f"the registries of {name} have not been asked yet")
    if seen is not None:
        registries = TargetSeen.parse(seen).registries
        conflicts = _conflicts(case, registries)
        facts = {"seen": format_time(seen.at), "registries": registries}
        if conflicts:
            return GateResult(NAME, FAILED, "; ".join(conflicts), {**facts, "conflicts": conflicts})
        missing = [str(r) for r in case.destination.registries if str(r) not in registries]
        silent = [f"{r}: {registries[r]['error']}" for r in registries if registries[r].get("error")]
        silent += [f"{r} has not been asked yet" for r in missing]
        if not silent and (delayed is None or _order(delayed) < _order(seen)):
            if unasked := [
                tag for tag in case.tags if any(tag not in answer["tags"] for answer in registries.values())
            ]:
                reason = f"the registries of {name} have not been asked about {', '.join(unasked)} yet"
                return GateResult(NAME, WAITING, reason, facts)
            return GateResult(NAME, PASSED, f"{len(registries)} of {len(registries)} registries can take it", facts)
        if delayed is None:
            return GateResult(NAME, WAITING, "; ".join(silent), facts, held=True)
    assert delayed is not None  # every path to here has one
    # the reason has no time and no count, so that an attempt that fails like the last one is no new decision
    delay = Delayed.parse(delayed)
    waits = {"attempt": delay.attempt, "next_at": delay.next_at}
    if delay.expected:
        return GateResult(NAME, WAITING, delay.reason, {**waits, "expected": True}, parse_time(delay.next_at))
    reason = f"{delay.reason}; it is tried again"
    return GateResult(NAME, WAITING, reason, waits, parse_time(delay.next_at), held=True)


def _last(case: Case) -> tuple[Fact | None, Fact | None]:
    """The last read of the targets (None: they have to be read again), and the last failure (DELAYED or PARKED) or
    request."""
    name = case.destination.name
    mine = [f for f in case.image.of(*_OF_TARGETS) if Destination.parse(f).target == name and _here(f, case)]
    asked = max((f for f in mine if f.kind is Kind.REQUESTED), key=_order, default=None)
    trouble = max((f for f in mine if f.kind is not Kind.TARGET_SEEN), key=_order, default=None)
    seen = max((f for f in mine if f.kind is Kind.TARGET_SEEN), key=_order, default=None)
    if trouble is not None and trouble.kind is Kind.PARKED and (push := _pushed_since(trouble, case)):
        trouble, asked = None, push  # a new push starts the promotion again: the source may have lacked the image
    if case.promoted_at is None and seen is not None and asked is not None and _order(asked) > _order(seen):
        seen = None  # a person requested the promotion again, or the image was pushed again
    return seen, trouble


def _once_in(case: Case, seen: Fact | None, promoted_at: datetime) -> GateResult:
    """The result for a promoted image: passed, unless a later read found a tag that points to another image."""
    name, facts = case.destination.name, {"promoted": format_time(promoted_at)}
    later = TargetSeen.parse(seen).registries if seen is not None and seen.seen > promoted_at else {}
    if seen is not None and (conflicts := _conflicts(case, later)):
        found = {"seen": format_time(seen.at), "registries": later, "conflicts": conflicts}
        return GateResult(NAME, FAILED, "; ".join(conflicts), {**facts, **found})
    return GateResult(NAME, PASSED, f"in {name} since {format_time(promoted_at)}", facts)


def _here(fact: Fact, case: Case) -> bool:
    if Said.parse(fact).refused:
        return False  # the sender of the request had no permission
    return Destination.parse(fact).name in (None, case.repository)


def _pushed_since(parked: Fact, case: Case) -> Fact | None:
    """The first push of the image to its source after its promotion was given up."""
    pushes = (f for f in case.image.of(*PUSHES) if f.repository in case.source_repositories)
    return min((push for push in pushes if _order(push) > _order(parked)), key=_order, default=None)


def _order(fact: Fact) -> tuple[Any, ...]:
    return fact.seen, fact.at, fact.id


def _conflicts(case: Case, registries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Tags that can't be set: they point to another digest and may not move, or nothing prevents them from moving."""
    create = case.policy.repository(case.repository).create
    found = []
    for registry, answer in registries.items():
        if answer.get("error") or not answer.get("exists"):
            continue
        for tag in case.tags:
            there = answer["tags"].get(tag)
            if there == case.image.digest:
                continue
            ours = any(glob_matches(glob, tag) for glob in create.mutable_tags)
            fixed = answer["immutable"] and not any(glob_matches(glob, tag) for glob in answer["mutable_tags"])
            if there is not None and fixed:
                found.append(f"{tag} in {registry} is taken by {there[:19]} and immutable")
            elif there is not None and not ours:
                found.append(f"{tag} in {registry} names {there[:19]}; only mutable_tags of the policy may move")
            elif not fixed and not ours:
                found.append(
                    f"{tag} is mutable in {registry}: make the repository immutable, or name the tag in mutable_tags"
                )
    return found
