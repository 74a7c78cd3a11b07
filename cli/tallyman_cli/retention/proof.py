"""Reads the proofs of removals, and brings removed images back."""

import json
import sys
from contextlib import redirect_stdout
from typing import Any

from tallyman.domain.history.details.retention import Removed
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest, Repository
from tallyman.domain.retention.proof import FOLDER
from tallyman.errors import BadInput, NotFound, Refused
from tallyman_cli.shared import addresses, context, output
from tallyman_cli.views.places import canonical


def proofs(stack: context.Stack, text: str) -> list[dict[str, Any]]:
    """The proofs of the image's removals from its repository, newest first, each with `proof`, its own digest.

    Raises NotFound where there is none."""
    place, digest = _meant(stack, text)
    found = []
    for fact in _removals(stack, place, digest):
        name = Digest(str(Removed.parse(fact).proof))
        raw = stack.archive.get(FOLDER, name)
        if raw is None:
            raise NotFound(f"the proof {name} is not in the archive")
        found.append({**json.loads(raw), "proof": name})
    if not found:
        raise NotFound(f"{place}@{digest} was not removed by retention")
    return found


def bring_back(stack: context.Stack, text: str) -> dict[str, Any]:
    """Restore an image from ECR's archive, or copy it from another registry of the policy. Return {repository,
    digest, outcome, tags}. Raises NotFound if no registry holds it."""
    place, digest = _meant(stack, text)
    result: dict[str, Any] = {"repository": str(place), "digest": digest, "outcome": "", "tags": []}
    there = next((d for d in _described(stack, place, digest) if d.digest == digest), None)
    if there is not None:
        result["tags"] = sorted(there.tags)
        if there.archived:
            stack.remover.store(place, digest, archive=False)
        return {**result, "outcome": "restored from the archive" if there.archived else "it is there"}
    removals = _removals(stack, place, digest)
    raw = stack.archive.get(FOLDER, Digest(str(Removed.parse(removals[0]).proof))) if removals else None
    tags = list(json.loads(raw)["tags"]) if raw else []
    origin = _held(stack, place, digest)
    if origin is None:
        raise NotFound(f"{digest} is in no registry of the policy any more: it has to be built and pushed again")
    free = [tag for tag in tags if not _described(stack, place, tag)]
    _copy(stack, origin, place, digest, free)
    return {**result, "outcome": f"copied back from {origin}", "tags": free}


def _copy(stack: context.Stack, origin: Repository, place: Repository, digest: Digest, tags: list[str]) -> None:
    from tallyman_cli.copy.copy import run

    source = f"{origin.registry.host}/{origin.name}@{digest}"
    for tag in [f":{tag}" for tag in tags] or [""]:
        target = f"{place.registry.host}/{place.name}{tag}"
        with redirect_stdout(sys.stderr):  # the report of the copy is progress here, not part of the JSON
            status = run([source, target, "--keep-tags"], clients=stack.clients)
        if status != 0:
            raise Refused(f"{digest} could not be copied from {origin} to {place}")


def _held(stack: context.Stack, place: Repository, digest: Digest) -> Repository | None:
    """Another repository of the same canonical name that holds the image, not archived."""
    _, name = canonical(stack.policy, place)
    for environment in stack.policy.environments.values():
        for other in environment.repositories(name):
            if other != place and any(d.digest == digest and not d.archived for d in _described(stack, other, digest)):
                return other
    return None


def _described(stack: context.Stack, place: Repository, reference: str) -> list[Any]:
    try:
        return stack.source.describe(place, [reference])
    except NotFound:
        return []


def _removals(stack: context.Stack, place: Repository, digest: Digest) -> list[Fact]:
    facts = [f for f in stack.ledger.of_digest(digest) if f.kind is Kind.REMOVED and f.repository == place]
    return facts[::-1]


def _meant(stack: context.Stack, text: str) -> tuple[Repository, Digest]:
    named = addresses.anywhere(stack.policy, text)
    if named.digest is None:
        raise BadInput(f"'{text}': a removed image is named by its digest, as in dev/team/app@sha256:…")
    output.say(f"{named.place}@{output.digest(named.digest)}")
    return named.place, named.digest
