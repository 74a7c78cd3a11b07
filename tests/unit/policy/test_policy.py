"""The policy: its meaning for repositories, environments, tags and people."""

from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from support.fakes.policies import parsed
from support.images.inventories import retention_policy
from tallyman.adapters.files.policy_file import load, loads
from tallyman.domain.events.commands import COMMANDS
from tallyman.domain.gates.scan import Ignore, ScanGate
from tallyman.domain.gates.soak import SoakGate
from tallyman.domain.gates.verified import VerifiedGate
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.policy import (
    KeepNewerThan,
    KeepNewest,
    KeepTag,
    Layers,
    People,
    Policy,
    TagRule,
    end_of_day,
    format_duration,
    parse_duration,
)
from tallyman.domain.policy.people import entry_of
from tallyman.errors import BadInput, BadName

ROOT = Path(__file__).parents[3]
DEV = EcrRegistry("111111111111", "us-east-2")
PROD = EcrRegistry("222222222222", "us-east-2")
PROD_2 = EcrRegistry("222222222222", "sa-east-1")

DEMO = b"""
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2, 222222222222/sa-east-1]}
repositories:
  - match: rocketseat/*
    create: {immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true}
    tags:   {allow: [semver, semver-commit, latest]}
    verify: {layers: content}
    promotions:
      - {from: dev, to: prod, tags: [semver, semver-commit], gates: {verified: true, scan: {max: {critical: 0}}}}
"""

FULL = b"""
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod:
    registries: [222222222222/us-east-2, 222222222222/sa-east-1]
    repository: "prod/{name}"
repositories:
  - match: rocketseat/*
    create:  {immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true,
              pull: ["222222222222"], push: tallyman-only}
    tags:    {allow: [semver, semver-commit, latest]}
    verify:  {layers: presence, platforms: [linux/amd64, linux/arm64/v8]}
    promotions:
      - from: dev
        to: prod
        tags: [semver, ">=1.0.0"]
        gates:
          verified: true
          scan: {max: {critical: 0, high: 2}, unscannable: pass, max_age: 7d,
                 ignore: [{id: CVE-2026-1234, until: 2027-01-31, because: "not reachable"}]}
          soak: 24h
    retention:
      keep: [{newest: 20, of: semver}, {newer_than: 30d}, {tag: "stable-*"}]
      untagged: {remove_after: 7d}
      grace: 0s
      at_most: 100%
      enforce: true
people:
  promote: [role/release-managers]
  recall: []
"""


@pytest.fixture(scope="module")
def demo() -> Policy:
    return loads(DEMO)


@pytest.fixture(scope="module")
def full() -> Policy:
    return loads(FULL, "full.yaml")


def test_the_demo_policy_is_read(demo: Policy) -> None:
    rule = demo.repository("rocketseat/widget-server")
    assert rule.create.immutable
    assert rule.create.scan_on_push
    assert rule.create.encryption == "AES256"
    (promotion,) = demo.promotions_from("dev", "rocketseat/widget-server")
    assert (promotion.source, promotion.target) == ("dev", "prod")
    assert list(promotion.gates.items()) == [("verified", VerifiedGate(True)), ("scan", ScanGate({"critical": 0}))]
    assert demo.warnings == ()


def test_every_key_is_read(full: Policy) -> None:
    (rule,) = full.repositories
    assert rule.create.pull == ("222222222222",)
    assert rule.create.push == "tallyman-only"
    assert rule.verify.layers is Layers.PRESENCE
    assert rule.verify.platforms == ("linux/amd64", "linux/arm64/v8")
    gates = rule.promotions[0].gates
    assert gates["soak"] == SoakGate(timedelta(hours=24))
    assert gates["scan"] == ScanGate(
        max={"critical": 0, "high": 2},
        unscannable="pass",  # type: ignore[arg-type]
        ignore=(Ignore("CVE-2026-1234", date(2027, 1, 31), "not reachable"),),
        max_age=timedelta(days=7),
    )
    assert rule.retention.keep == (
        KeepNewest(20, TagRule.parse(["semver"])),
        KeepNewerThan(timedelta(days=30)),
        KeepTag(TagRule.parse(["stable-*"])),
    )
    assert rule.retention.untagged_remove_after == timedelta(days=7)
    assert (rule.retention.grace, rule.retention.at_most, rule.retention.enforce) == (timedelta(0), 100, True)
    assert full.people.allowed("promote") == ("role/release-managers",)
    assert full.people.allowed("recall") == ()


@pytest.mark.parametrize("key", [field.name for field in fields(People)])
def test_every_entry_of_people_applies_to_its_commands(key: str) -> None:
    people = People(**{key: ("role/only",)})
    commands = [command for command in COMMANDS if entry_of(command) == key]
    assert commands
    assert {command: people.allowed(command) for command in commands} == dict.fromkeys(commands, ("role/only",))


def test_a_command_without_an_entry_is_open_to_everybody_allowed_by_iam(full: Policy) -> None:
    assert full.people.allowed("freeze") is None
    assert full.people.allowed("allowed") is None


def test_the_digest_is_that_of_the_file(full: Policy) -> None:
    assert full.raw == FULL
    assert full.digest == Digest.of(FULL)


def test_a_policy_can_not_be_changed(full: Policy) -> None:
    with pytest.raises(AttributeError):
        full.people = None  # type: ignore[misc, assignment]
    with pytest.raises(TypeError):
        full.environments["x"] = full.environments["dev"]  # type: ignore[index]
    with pytest.raises(TypeError):
        full.repositories[0].promotions[0].gates["soak"] = None  # type: ignore[index]


def test_registries_keep_the_order_of_the_file(demo: Policy) -> None:
    assert demo.registries() == (DEV, PROD, PROD_2)


def test_an_unknown_environment_is_bad_input_that_names_the_nearest(demo: Policy) -> None:
    with pytest.raises(BadName, match=r"unknown environment 'prd'; the policy .* did you mean 'prod'"):
        demo.environment("prd")
    with pytest.raises(BadInput, match="defines dev, prod"):
        demo.environment("xyz")


def test_the_first_matching_entry_is_used() -> None:
    policy = loads(
        b"""
repositories:
  - {match: rocketseat/base/*, create: {encryption: KMS}}
  - {match: rocketseat/*, create: {scan_on_push: false}}
"""
    )
    assert policy.repository("rocketseat/base/alpine").create.encryption == "KMS"
    assert policy.repository("rocketseat/base/alpine").create.scan_on_push
    assert not policy.repository("rocketseat/widget-server").create.scan_on_push


def test_a_star_in_match_also_matches_slashes(demo: Policy) -> None:
    assert demo.repository("rocketseat/team/widget-server").match == "rocketseat/*"


def test_a_repository_that_no_entry_matches_follows_the_defaults(demo: Policy) -> None:
    rule = demo.repository("other/app")
    assert rule.promotions == ()
    assert rule.create.immutable
    assert rule.tags.allows("anything")
    assert rule.retention.keep is None
    assert not rule.retention.enforce


def test_a_repository_name_is_mapped_to_a_target_and_back(full: Policy) -> None:
    prod = full.environment("prod")
    assert prod.repository_name("rocketseat/widget-server") == "prod/rocketseat/widget-server"
    assert prod.canonical_name("prod/rocketseat/widget-server") == "rocketseat/widget-server"
    assert prod.canonical_name("rocketseat/widget-server") is None
    assert prod.canonical_name("prod/") is None
    assert [str(r) for r in prod.repositories("a/b")] == [
        "222222222222/us-east-2/prod/a/b",
        "222222222222/sa-east-1/prod/a/b",
    ]


def test_a_repository_of_a_registry_has_its_environment(full: Policy) -> None:
    environment, name = full.environment_of(Repository(PROD_2, "prod/rocketseat/widget-server"))
    assert (environment and environment.name, name) == ("prod", "rocketseat/widget-server")
    for registry in (PROD, EcrRegistry("333333333333", "us-east-2")):
        alone = Repository(registry, "rocketseat/widget-server")
        assert full.environment_of(alone) == (None, alone.name)
        assert full.promotions_out_of(alone) == ()


def test_one_registry_can_have_two_environments_and_the_more_specific_name_wins() -> None:
    policy = load(ROOT / "examples/policies/one-account.yaml")
    for own, expected in (("rocketseat/app", "dev"), ("prod/rocketseat/app", "prod")):
        environment, name = policy.environment_of(Repository(DEV, own))
        assert (environment and environment.name, name) == (expected, "rocketseat/app")


def test_a_promotion_is_found_by_its_tag() -> None:
    policy = loads(
        b"""
environments: {dev: {registries: [111111111111/us-east-2]}, prod: {registries: [222222222222/us-east-2]}}
repositories:
  - match: "*"
    promotions:
      - {from: dev, to: prod, tags: [semver, "<1"]}
      - {from: dev, to: prod, tags: [semver, ">=1"], gates: {soak: 1h}}
"""
    )
    early, late = policy.promotions_from("dev", "a/b")
    assert policy.promotion("dev", "prod", "a/b", "v0.9.0") == early
    assert policy.promotion("dev", "prod", "a/b", "v1.0.0") == late
    assert policy.promotion("dev", "prod", "a/b", "latest") is None
    assert policy.promotion("prod", "dev", "a/b", "v1.0.0") is None
    assert policy.is_target("prod", "a/b")
    assert not policy.is_target("dev", "a/b")


def test_a_promotion_without_tags_uses_the_repositorys_allowed_tags() -> None:
    policy = loads(
        b"""
environments: {dev: {registries: [111111111111/us-east-2]}, prod: {registries: [222222222222/us-east-2]}}
repositories:
  - match: "*"
    promotions: [{from: dev, to: prod}]
    tags: {allow: [semver]}
"""
    )
    (promotion,) = policy.promotions_from("dev", "a/b")
    assert promotion.tags.allows("v1.0.0")
    assert not promotion.tags.allows("latest")
    assert promotion.gates == {}


def test_commit_and_semver_tags_are_distinguished() -> None:
    assert not TagRule.parse(["semver"]).allows("v1.0.0-abc1234")
    assert not TagRule.parse(["semver-commit"]).allows("v1.0.0")
    both = TagRule.parse(["semver", "semver-commit", ">=1.0.0"])
    assert both.allows("v1.0.0-abc1234")
    assert not both.allows("v0.9.0-abc1234")


def test_a_range_holds_for_no_tag_that_is_not_a_version() -> None:
    assert not TagRule.parse(["latest", ">=1.0.0"]).allows("latest")


def test_ranges_alone_allow_every_version_within_them() -> None:
    rule = TagRule.parse([">=1.0.0", "<2"])
    assert rule.allows("1.5.0")
    assert rule.allows("v1.5.0-abc1234")
    assert not rule.allows("2.0.0")


def test_an_empty_list_of_tags_allows_nothing() -> None:
    assert not TagRule.parse([]).allows("v1.0.0")


def test_mutable_tags_may_move(demo: Policy) -> None:
    create = demo.repository("rocketseat/widget-server").create
    assert create.may_move("latest")
    assert not create.may_move("v1.0.0")


def test_an_ignored_finding_counts_again_after_its_last_day() -> None:
    entry = Ignore("CVE-2026-1234", date(2027, 1, 31))
    assert entry.holds(datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC))
    assert not entry.holds(datetime(2027, 2, 1, tzinfo=UTC))
    assert ScanGate(ignore=(entry,)).ignored(datetime(2027, 1, 1, tzinfo=UTC)) == {"CVE-2026-1234"}
    assert end_of_day(date(2027, 1, 31)) == datetime(2027, 2, 1, tzinfo=UTC)


def test_an_ignored_finding_may_be_ignored_until_the_last_day_there_is() -> None:
    assert Ignore("CVE-2026-1234", date(9999, 12, 31)).holds(datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "duration", "written"),
    [
        ("0s", timedelta(0), "0s"),
        ("90s", timedelta(seconds=90), "90s"),
        ("60m", timedelta(hours=1), "1h"),
        ("24h", timedelta(hours=24), "24h"),
        ("7d", timedelta(days=7), "7d"),
        ("2w", timedelta(weeks=2), "14d"),
    ],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, duration: timedelta, written: str) -> None:
    assert parse_duration(text) == duration
    assert format_duration(duration) == written


@pytest.mark.parametrize("text", ["", "24", "h", "24 h", "1.5h", "-1h", "24H", "1y", "24h\n", "٢h", "9999999w"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="a duration such as 24h"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["999999w", "365001d"])
def test_a_duration_that_would_end_after_the_year_9999_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected a duration of at most 365000d"):
        parse_duration(text)
    assert datetime(3000, 1, 1, tzinfo=UTC) + parse_duration("365000d") < datetime(4100, 1, 1, tzinfo=UTC)
    with pytest.raises(BadInput, match=r"gates\.soak: expected a duration of at most 365000d"):
        loads(
            b"environments: {dev: {registries: [111111111111/us-east-2]},\n"
            + b"  prod: {registries: [222222222222/us-east-2]}}\n"
            + b"repositories: [{match: a, promotions: [{from: dev, to: prod, gates: {soak: "
            + text.encode()
            + b"}}]}]"
        )


@pytest.mark.parametrize("raw", [b"", b"# nothing\n", b"---\n", b"environments:\nrepositories:\npeople:\n", b"{}"])
def test_an_empty_file_is_the_defaults(raw: bytes) -> None:
    policy = loads(raw)
    assert policy.environments == {}
    assert policy.repositories == ()
    assert policy.repository("any/thing").promotions == ()


def test_without_environments_the_hub_is_the_one_environment() -> None:
    policy = loads(b"repositories: [{match: 'a/*'}]").for_hub(DEV)
    assert policy.environment("main").registries == (DEV,)
    assert policy.repositories[0].match == "a/*"
    assert policy.digest == Digest.of(b"repositories: [{match: 'a/*'}]")


def test_named_environments_stay_as_they_are(demo: Policy) -> None:
    assert demo.for_hub(EcrRegistry("999999999999", "eu-west-1")) is demo


@pytest.mark.parametrize(
    "path",
    ["examples/policies/one-account.yaml", "examples/policies/hub-and-spokes.yaml", "layers/policy/tallyman.yaml"],
)
def test_the_policies_that_we_ship_are_valid_and_raise_no_warning(path: str) -> None:
    assert load(ROOT / path).warnings == ()


def test_anchors_and_merge_keys_are_yaml_as_usual() -> None:
    policy = loads(
        b"""
repositories:
  - match: a/*
    create: &settings {immutable: false, scan_on_push: false}
  - match: b/*
    create: *settings
  - match: c/*
    create: {<<: *settings, immutable: true}
"""
    )
    assert not policy.repository("b/x").create.immutable
    assert policy.repository("c/x").create.immutable
    assert not policy.repository("c/x").create.scan_on_push


def test_a_mapping_that_merges_and_overrides_can_be_used_again() -> None:
    policy = loads(
        b"""
repositories:
  - match: a/*
    create: &open {immutable: false, scan_on_push: false}
  - match: b/*
    create: &safe {<<: *open, immutable: true}
  - match: c/*
    create: *safe
  - match: d/*
    create: {<<: [*safe, *open], scan_on_push: true}
"""
    )
    assert policy.repository("c/x").create == policy.repository("b/x").create
    assert policy.repository("d/x").create.immutable  # the first mapping of the list wins
    assert policy.repository("d/x").create.scan_on_push


def test_plain_data_is_read_without_a_file() -> None:
    policy = parsed({"environments": {"dev": {"registries": ["111111111111/us-east-2"]}}})
    assert policy.registries() == (DEV,)


@pytest.mark.parametrize(
    ("retention", "says"),
    [
        ("{keep: [{newest: 2}]}", "a plan only: nothing is removed until `enforce: true`"),
        ("{keep: [{newest: 2}], enforce: true}", "enforced: removes images"),
        ("{keep: [{newest: 2}], action: archive, enforce: true}", "archives every other tagged image"),
        ("{keep: [], enforce: false}", "removes every tagged image"),
        ("{untagged: {remove_after: 7d}}", "removes untagged images that belong to no index, 7d after their push"),
        ("{untagged: {remove_after: 7d}}", "keeps every tagged image"),
        ("{keep: [{newest: 2}]}", "keeps untagged images that belong to no index"),
        ("{keep: [{newest: 2}], grace: 0s}", "grace 0s: removes an image in the run that marks it"),
        ("{keep: [{newest: 2}], grace: 2d}", "leaves an image alone for 2d after its push"),
        ("{keep: [{newest: 2}], at_most: 100%}", "at_most 100%: one run may take every image of a repository"),
        ("{keep: [{newest: 2}], at_most: 5%}", "a run that would take more than 5% of a repository does nothing"),
        ("{keep: [{newest: 2}], at_most_images: 9}", "more than 20% of a repository or 9 images does nothing"),
        ("{keep: [{newest: 2}], at_least: 3}", "keeps at least the 3 newest tagged images"),
        ("{keep: [{newest: 2}], roll_back: 0s}", "roll_back 0s: keeps nothing to roll back to"),
    ],
)
def test_a_retention_policy_is_described_in_words(retention: str, says: str) -> None:
    words = retention_policy(retention).repositories[0].retention.in_words
    assert any(says in line for line in words), words


def test_a_retention_policy_without_removals_has_no_description() -> None:
    assert retention_policy("{grace: 1d}").repositories[0].retention.in_words == []


def test_eks_clusters_are_read_unless_a_pattern_ignores_them() -> None:
    here, there = EcrRegistry("222222222222", "us-east-2"), EcrRegistry("333333333333", "us-east-2")
    ignored = ["222222222222/us-east-2/sandbox-*", "333333333333/*"]
    rules = parsed({"usage": {"eks": {"ignore": ignored}}}).usage
    assert [rules.reads(here, name) for name in ("shop", "sandbox-1", "my-sandbox-1")] == [True, False, True]
    assert (rules.reads_any(here), rules.reads_any(there)) == (True, False)
    assert parsed({}).usage.reads(here, "shop")
    assert parsed({"usage": {"eks": {}}}).usage == parsed({"usage": {}}).usage == parsed({}).usage
