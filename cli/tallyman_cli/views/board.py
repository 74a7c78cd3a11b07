"""The board: for each repository what every environment runs, and what waits to get in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tallyman.domain.gates import Freeze
from tallyman.domain.history.facts import Fact
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Repository
from tallyman.domain.policy import Environment
from tallyman.domain.times import format_time
from tallyman.services.deciding.freezes import in_force
from tallyman.services.releases.rollout_progress import rollouts_of
from tallyman.state import noncompliant as noncompliant_items
from tallyman.state import tags as tag_items
from tallyman.state.freezes import FreezeState
from tallyman.state.noncompliant import NONCOMPLIANT
from tallyman.state.releases import ReleaseState
from tallyman.state.tags import TAGS
from tallyman_cli.promotion import pending
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import places
from tallyman_cli.views.reading import each

SIZE = 20
"""Repositories of a page."""

_RECENT = 40
"""Facts of a repository that are read to find its newest tag."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the state says of one environment, by repository: releases with their rollouts, what waits, what is
    frozen, what would not pass its gates today."""

    releases: Mapping[str, ReleaseState]
    rollouts: Mapping[str, Mapping[str, Any] | None]
    waiting: Mapping[str, Sequence[Mapping[str, Any]]]
    frozen: Mapping[str | None, Freeze]
    noncompliant: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]

    @classmethod
    def of(cls, stack: Stack, environment: str) -> "Situation":
        """Read it: five Queries."""
        releases, rollouts = {}, {}
        for release, rollout in rollouts_of(stack.policy, stack.state, environment):
            releases[release.sk], rollouts[release.sk] = release.value, rollout
        waiting: dict[str, list[Mapping[str, Any]]] = {}
        for row in sorted(pending.rows(stack, [environment]), key=lambda row: (row["since"], row["digest"])):
            waiting.setdefault(row["repository"], []).append(row)
        frozen = {freeze.repository: freeze for freeze in in_force(stack.state, environment)}
        noncompliant = {
            (entry.value.name, str(entry.value.digest)): entry.value.gates
            for entry in NONCOMPLIANT.list(stack.state, noncompliant_items.partition(environment))
        }
        return cls(releases, rollouts, waiting, frozen, noncompliant)

    def needs_attention(self, name: str) -> bool:
        """Whether something of the repository waits, failed, is frozen, or would not pass its gates today."""
        release, rollout = self.releases.get(name), self.rollouts.get(name)
        return bool(
            self.waiting.get(name)
            or name in self.frozen
            or (rollout and rollout["status"] != "done")
            or (release and (name, str(release.digest)) in self.noncompliant)
        )


def board(
    stack: Stack, match: str | None = None, page: int = 1, size: int = SIZE, attention: bool = False
) -> dict[str, Any]:
    """The board of a page of repositories: `{at, environments, rows, total, page, pages, match, attention, waiting}`.

    A row is `{repository, cells}`, a cell `{environment, card, waiting, frozen}`; `card` None: nothing is known there.
    Cost: two Queries, five an environment, one BatchGetItem for a hundred tags, and for each repository of the page a
    short Query where no promotion leads in: the number does not grow with what is in the registries.
    """
    policy = stack.policy
    situations = dict(
        zip(policy.environments, each(lambda name: Situation.of(stack, name), policy.environments), strict=True)
    )
    there = places.by_name(policy, places.sweeps(stack))
    for environment, situation in situations.items():
        for name in (*situation.releases, *situation.waiting):
            there.setdefault(name, {}).setdefault(environment, [])
    names = places.chosen(sorted(there), match)
    urgent = [name for name in names if any(s.needs_attention(name) for s in situations.values())]
    if attention:
        names = urgent
    pages = max(1, -(-len(names) // size))
    page = min(max(1, page), pages)
    shown = names[(page - 1) * size : page * size]
    cards = _cards(stack, shown, there, situations)
    rows = [
        {
            "repository": name,
            "cells": [
                _cell(name, environment, situations[environment.name], cards.get((name, environment.name)))
                for environment in places.environments_for(policy, name, there[name])
            ],
        }
        for name in shown
    ]
    return {
        "at": format_time(stack.clock()),
        "environments": [_environment(e, situations[e.name]) for e in policy.environments.values()],
        "rows": rows,
        "total": len(names),
        "attention": attention,
        "urgent": len(urgent),
        "page": page,
        "pages": pages,
        "match": match or "",
        "waiting": sum(len(rows) for s in situations.values() for rows in s.waiting.values()),
    }


def _environment(environment: Environment, situation: Situation) -> dict[str, Any]:
    return {
        "name": environment.name,
        "registries": [str(registry) for registry in environment.registries],
        "frozen": freeze_row(situation.frozen.get(None)),
        "waiting": sum(len(rows) for rows in situation.waiting.values()),
    }


def _cell(name: str, environment: Environment, situation: Situation, card: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "environment": environment.name,
        "card": card,
        "waiting": list(situation.waiting.get(name, ())),
        "frozen": freeze_row(situation.frozen.get(name) or situation.frozen.get(None)),
    }


def _cards(
    stack: Stack,
    names: Sequence[str],
    there: Mapping[str, Mapping[str, list[Repository]]],
    situations: Mapping[str, Situation],
) -> dict[tuple[str, str], dict[str, Any]]:
    """By (repository, environment): what is released there, else what was pushed there last."""
    released, pushed = {}, []
    for name in names:
        for environment in places.environments_for(stack.policy, name, there[name]):
            if release := situations[environment.name].releases.get(name):
                released[name, environment.name] = release
            elif environment.name in there[name] and not stack.policy.is_target(environment.name, name):
                pushed.append((name, environment))
    found = {
        (name, environment): _released(name, situations[environment], data)
        for (name, environment), data in released.items()
    }
    newest = each(lambda pair: _newest(stack, *pair), pushed)
    found |= {(name, e.name): card for (name, e), card in zip(pushed, newest, strict=True) if card is not None}
    regions = _regions(stack, found)
    return {key: card | regions[key] for key, card in found.items()}


def _released(name: str, situation: Situation, release: ReleaseState) -> dict[str, Any]:
    gates = [dict(gate) for gate in situation.noncompliant.get((name, str(release.digest)), ())]
    return {
        "kind": "release",
        "digest": release.digest,
        "tags": list(release.tags),
        "at": format_time(release.at),
        "change": release.change,
        "by": release.by,
        "because": release.because,
        "rollout": situation.rollouts.get(name),
        "recalled": any(gate["name"] == "recalled" for gate in gates),
        "noncompliant": gates,
    }


def _regions(stack: Stack, cards: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """In how many registries the card's tag points to its image, and whether it points to something else in one. A
    release is set only once all registries were read back: one whose event has not arrived yet has it."""
    wanted = {
        (name, environment): [
            tag_items.key(place, card["tags"][0])
            for place in stack.policy.environment(environment).repositories(name)
            if card["tags"]
        ]
        for (name, environment), card in cards.items()
    }
    items = TAGS.get_many(stack.state, [key for keys in wanted.values() for key in keys])
    found = {}
    for key, keys in wanted.items():
        digest, environment = cards[key]["digest"], stack.policy.environment(key[1])
        without_event = digest if cards[key]["kind"] == "release" else None
        pointing = [items[k].digest if k in items else without_event for k in keys]
        found[key] = {
            "registries": {"have": sum(p == digest for p in pointing), "of": len(environment.registries)},
            "differs": any(p not in (None, digest) for p in pointing),
        }
    return found


def _newest(stack: Stack, name: str, environment: Environment) -> dict[str, Any] | None:
    """The newest push to the environment's first registry, with its tags; None: none of the recent facts is a push."""
    place = environment.repositories(name)[0]
    recent: Iterable[Fact] = islice(stack.ledger.of_repository(place, page=_RECENT), _RECENT)
    pushes = [fact for fact in recent if fact.kind in PUSHES and fact.tag]
    if not pushes:
        return None
    newest = pushes[0]
    tags = dict.fromkeys(fact.tag for fact in pushes if fact.tag and fact.digest == newest.digest)
    return {
        "kind": "pushed",
        "digest": newest.digest,
        "tags": versions_first(tags),
        "at": format_time(newest.at),
        "change": "push",
        "by": newest.actor,
        "because": None,
        "rollout": None,
        "recalled": False,
        "noncompliant": [],
    }


def release_row(release: ReleaseState | None) -> dict[str, Any] | None:
    """`{digest, tags, at}` of a release; None where there is none."""
    return {"digest": release.digest, "tags": list(release.tags), "at": format_time(release.at)} if release else None


def freeze_row(freeze: Freeze | FreezeState | None) -> dict[str, Any] | None:
    """`{at, by, because}` of a freeze; None where nothing is frozen."""
    return {"at": format_time(freeze.at), "by": freeze.by, "because": freeze.because} if freeze else None


def versions_first(tags: Iterable[str]) -> list[str]:
    """Tags for people: those with a number in them before names such as `latest`."""
    return sorted(tags, key=lambda tag: not any(c.isdecimal() for c in tag))
