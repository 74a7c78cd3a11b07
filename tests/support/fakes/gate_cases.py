"""Cases for gates: one image that is a candidate for prod, with the facts that a test names."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from support.fakes.policies import parsed
from support.images.builders import DEV, NOON, digest_of, fact, pushed
from tallyman.domain.decide import Decision, decide
from tallyman.domain.gates import Case, Freeze, GateResult, ImageFacts, Released, judge_all
from tallyman.domain.history.facts import Fact, Kind, Via
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy

NAME = "rocketseat/widget-server"
APP = digest_of("app")
LATER = NOON + timedelta(hours=1)
PLACES = ("222222222222/us-east-2", "222222222222/sa-east-1")


def policy_of(gates: Mapping[str, Any] | None = None, overridable: Iterable[str] = (), **people: Any) -> Policy:
    """The demo's environments, one promotion from dev to prod with these gates."""
    return parsed(
        yaml.safe_load(f"""
        environments:
          dev:  {{registries: [111111111111/us-east-2]}}
          prod: {{registries: [{", ".join(PLACES)}]}}
        repositories:
          - match: rocketseat/*
            create: {{immutable: true, mutable_tags: [latest]}}
            tags: {{allow: [semver, semver-commit, latest]}}
            promotions:
              - {{from: dev, to: prod, tags: [semver, semver-commit], gates: {_json(gates or {})},
                  overridable: {_json(list(overridable))}}}
        people: {_json(people)}
        """)
    )


def _json(value: Any) -> str:
    return json.dumps(value, default=str)  # dates as text


def said(kind: Kind, who: str = "ana", *, role: str = "role/release-managers", **more: Any) -> Fact:
    """A person's fact about the image that is a candidate for prod."""
    detail = {"to": "prod", "name": NAME, "principal": role, "because": "it is fine", "refused": None, **more}
    at = detail.pop("at", LATER)
    return fact(kind, APP, via=Via.PERSON, actor=f"AROA{role[-4:].upper()}:{who}", at=at, **detail)


def checked(result: str = "passed", who: str = "run-42", *, check: str = "e2e", **more: Any) -> Fact:
    """A check's result, posted for the image in dev."""
    environment = more.pop("environment", "dev")
    fact = said(Kind.CHECKED, who, check=check, result=result, **more)
    return replace(fact, detail={**fact.detail, "environment": environment})


def target_seen(**more: Any) -> Fact:
    """An observation of prod's registries in which the tags are free."""
    free = {"exists": True, "immutable": True, "mutable_tags": ["latest"], "tags": {"v1.0.0": None}, "error": None}
    return fact(Kind.TARGET_SEEN, APP, to="prod", name=NAME, registries=dict.fromkeys(PLACES, free), **more)


def image_of(*facts: Fact, tag: str = "v1.0.0", **more: Any) -> ImageFacts:
    """The image, pushed to dev as `tag`, with no freezes and no release unless given."""
    known: dict[str, Any] = {"freezes": {"prod": ()}, "released": {("prod", NAME): None}, **more}
    base = (pushed(APP, tag, index=False), *facts)
    return ImageFacts(APP, base, pointing={(DEV, tag): APP}, **known)


def case_of(
    *facts: Fact,
    gates: Mapping[str, Any] | None = None,
    policy: Policy | None = None,
    now: datetime = LATER,
    image: ImageFacts | None = None,
    tags: tuple[str, ...] = ("v1.0.0",),
) -> Case:
    """The image as a candidate for prod."""
    policy = policy or policy_of(gates)
    promotion = policy.repositories[0].promotions[0]
    return Case(policy, promotion, NAME, image or image_of(*facts), tags, now)


def judged(name: str, case: Case) -> GateResult:
    """The result of this gate, with overrides."""
    (result,) = [gate for gate in judge_all(case) if gate.name == name]
    return result


def decided(case: Case) -> Decision:
    """The decision about the image."""
    return decide(case.policy, case.promotion, NAME, case.image, case.now)


def frozen(repository: str | None = None, at: datetime = NOON) -> Freeze:
    """An active freeze."""
    return Freeze(repository, at, "ana (role/release-managers)", "the shop is full")


def released(digest: Digest, *tags: str, first_push: datetime | None = NOON) -> Mapping[tuple[str, str], Released]:
    """The release that prod runs."""
    return {("prod", NAME): Released(digest, tags, first_push)}


def without(image: ImageFacts, **more: Any) -> ImageFacts:
    """The image with some parts replaced."""
    return replace(image, **more)


def utc(text: str) -> datetime:
    """`2026-11-16 12:00` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
