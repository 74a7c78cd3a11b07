"""Any policy file is read completely or refused with a reason: never in part, never with another error."""

import copy
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.fakes.policies import parsed
from tallyman.adapters.files.policy_file import loads
from tallyman.domain.gates import GATES
from tallyman.domain.policy import Policy, PolicyProblem

VALID = yaml.safe_load("""
environments:
  dev: {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2], repository: "prod/{name}"}
repositories:
  - match: rocketseat/*
    create: {immutable: true, mutable_tags: [latest], encryption: KMS, kms_key: alias/x, scan_on_push: true,
             pull: ["222222222222"], push: tallyman-only}
    tags: {allow: [semver, latest]}
    verify: {layers: content, platforms: [linux/amd64]}
    promotions:
      - from: dev
        to: prod
        tags: [semver, ">=1.0.0"]
        gates:
          verified: true
          scan: {max: {critical: 0}, unscannable: refuse, max_age: 7d,
                 ignore: [{id: CVE-2026-1234, until: 2027-01-31, because: "not reachable"}]}
          soak: 24h
          signed: {by: [release_*]}
          built: {branch: [main]}
          attested: [sbom]
          approvals: {count: 1, from: [role/release-managers]}
          window: {days: mon-fri, between: "09:00-17:00", timezone: America/Sao_Paulo, holidays: [2026-12-25]}
          order: true
          check: [{name: e2e, from: [role/ci], max_age: 7d}]
        overridable: [soak, window]
    retention: {keep: [{newest: 20, of: semver}, {newer_than: 30d}, {tag: "stable-*"}], untagged: {remove_after: 7d},
                grace: 7d, at_most: 20%, enforce: false}
people: {promote: [role/release-managers]}
""")

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(), st.datetimes()
)
data = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in inside for place in places(inner, (*path, key)))]


PLACES = places(VALID)[1:]


def container(of: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        of = of[key]
    return of


def test_the_undamaged_policy_is_valid() -> None:
    assert parsed(VALID).promotions_from("dev", "rocketseat/widget-server")


@given(st.sampled_from(PLACES), data)
def test_any_value_at_any_place_is_read_or_refused_with_a_reason(place: tuple[Any, ...], value: Any) -> None:
    damaged = copy.deepcopy(VALID)
    container(damaged, place)[place[-1]] = value
    try:
        policy = parsed(damaged)
    except PolicyProblem as problem:
        assert all(p.message for p in problem.problems)  # noqa: PT017 (it may also be valid)
        return
    assert isinstance(policy, Policy)


@given(st.sampled_from([p for p in PLACES if isinstance(p[-1], str)]), st.text(min_size=1, max_size=8))
def test_an_unknown_key_is_never_ignored(place: tuple[Any, ...], name: str) -> None:
    if place[:-1] == ("environments",):
        return  # these names are the user's own
    damaged = copy.deepcopy(VALID)
    holder = container(damaged, place)
    if name in _known(place):
        return
    holder[name] = copy.deepcopy(holder[place[-1]])
    try:
        parsed(damaged)
    except PolicyProblem as problem:
        assert any(f"'{name}'" in p.message for p in problem.problems)  # noqa: PT017
        return
    raise AssertionError(f"'{name}' was taken without a word")


def _known(place: tuple[Any, ...]) -> set[str]:
    siblings = {str(p[-1]) for p in PLACES if p[:-1] == place[:-1]}
    return siblings | {"high", "medium", "low", "informational", "undefined", "of"}


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_a_reason(raw: bytes) -> None:
    try:
        assert loads(raw).raw == raw
    except PolicyProblem as problem:
        assert str(problem).startswith("tallyman.yaml")  # noqa: PT017


@given(st.text(alphabet="ab: -[]{}&*!?|>'\"\n\t#%@,<=1", max_size=40))
def test_anything_that_looks_like_yaml_is_read_or_refused_with_a_reason(text: str) -> None:
    try:
        assert loads(text.encode()).raw == text.encode()
    except PolicyProblem as problem:
        assert str(problem).startswith("tallyman.yaml")  # noqa: PT017


def test_the_undamaged_policy_contains_every_gate() -> None:
    assert set(VALID["repositories"][0]["promotions"][0]["gates"]) == set(GATES)
