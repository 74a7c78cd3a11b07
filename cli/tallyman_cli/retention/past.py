"""Reads the recorded past of a repository, and replays it under a policy."""

from datetime import datetime
from typing import Any

from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.facts import Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.domain.plain import plain
from tallyman.domain.retention.inputs import Release
from tallyman.domain.retention.replay import Past, Replayed, replay
from tallyman.domain.times import format_time
from tallyman.errors import BadInput, NotFound
from tallyman.services.releases.pointer import releases
from tallyman_cli.shared.context import Stack
from tallyman_cli.views.places import canonical


def gone(stack: Stack, place: Repository, since: datetime, until: datetime) -> Replayed:
    """What the policy would have removed between two moments. Reads all facts of the repository, its releases, its
    images now, and every source of usage. Raises BadInput if the time is not past."""
    _must_be_past(since, until, stack.clock())
    _, name = canonical(stack.policy, place)
    facts = list(stack.ledger.of_repository(place))
    ran: dict[Digest, list[Release]] = {}
    for environment in stack.policy.environments:
        end: datetime | None = None
        for fact in releases(stack.ledger, environment, name):
            if fact.digest is not None:
                ran.setdefault(fact.digest, []).append(Release(environment, fact.at, end))
            end = fact.at
    inputs, inventories = stack.retention_inputs(stack.policy)
    in_use = {use.digest: str(use) for r in inputs.readings() for use in r.uses if use.digest is not None}
    pulled, subjects = {}, {}
    children: dict[Digest, tuple[Digest, ...]] = {}
    try:
        inventory = inventories.of(place)
        children = {inventory.digest(row): tuple(map(Digest, listed)) for row, listed in inventory.children.items()}
        for row, subject in inventory.subjects.items():
            subjects[inventory.digest(row)] = Digest(subject)
        for detail in stack.source.images(place):
            if detail.pulled_at:
                pulled[detail.digest] = detail.pulled_at
    except NotFound:
        pass  # the repository is gone; the facts remain
    for fact in facts:
        held = Change.parse(fact).children if fact.kind in PUSHES else ()
        if fact.digest is not None and held:
            listed = tuple(child.digest for child in held)
            children.setdefault(fact.digest, listed)
    kept = [f for f in facts if f.kind in PUSHES or f.kind in (Kind.UNTAGGED, Kind.DELETED)]
    past = Past(kept, {d: tuple(r) for d, r in ran.items()}, pulled, in_use, children, subjects)
    return replay(stack.policy, place, name, past, since, until)


def _must_be_past(since: datetime, until: datetime, now: datetime) -> None:
    if not since < until <= now:
        raise BadInput(
            f"from {format_time(since)} to {format_time(until)}: a replay begins before it ends, and ends at the "
            f"latest now ({format_time(now)})"
        )


def as_data(stack: Stack, place: Repository, past: Replayed) -> dict[str, Any]:
    """The form of `retention replay --json`."""
    removed, refused = [plain(image) for image in past.gone], [plain(day) for day in past.refused]
    return {"repository": str(place), "policy": stack.policy.digest, "removed": removed, "refused": refused}
