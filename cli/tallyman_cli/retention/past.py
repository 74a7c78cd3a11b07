"""The recorded past of a repository, read for a replay."""

from datetime import datetime

from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.facts import Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.domain.retention.inputs import Release
from tallyman.domain.retention.replay import Past, Replayed, replay
from tallyman.errors import NotFound
from tallyman.services.releases.pointer import releases
from tallyman_cli.shared.context import Stack


def gone(stack: Stack, place: Repository, since: datetime, until: datetime) -> Replayed:
    """What the policy would have removed. Reads all facts of the repository, its releases, what is there and runs."""
    found = stack.policy.environments_of(place.registry, place.name)
    name = found[0][1] if found else place.name
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
