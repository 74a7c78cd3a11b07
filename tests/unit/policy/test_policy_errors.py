"""Errors in a policy: every problem at once, each with its file, line, key and what was expected."""

from pathlib import Path

import pytest

from support.fakes.policies import parsed
from tallyman.adapters.files.policy_file import load, loads
from tallyman.domain.policy import PolicyProblem
from tallyman.errors import PolicyError

ENVIRONMENTS = """\
environments:
  dev: {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2]}
"""


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(PolicyProblem) as caught:
        loads(text.encode() if isinstance(text, str) else text)
    lines = str(caught.value).split("\n")
    assert len(lines) == len(caught.value.problems)
    return lines


def promotion(text: str) -> str:
    return f"{ENVIRONMENTS}repositories:\n  - match: rocketseat/*\n    promotions:\n      - {text}\n"


def test_all_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        """\
environments:
  dev: {registries: [111111111111/us-east-2], regsitries: x}
repositories:
  - match: rocketseat/*
    create: {immutable: "yes"}
    promotions:
      - from: dev
        to: prd
        gates:
          soak: 24 hours
"""
    )
    assert found == [
        "tallyman.yaml:2: environments.dev.regsitries: unknown key 'regsitries' (did you mean 'registries'?)",
        'tallyman.yaml:5: repositories[0].create.immutable: expected true or false, found "yes"',
        'tallyman.yaml:8: repositories[0].promotions[0].to: expected an environment of this policy (dev), found "prd"',
        "tallyman.yaml:10: repositories[0].promotions[0].gates.soak: expected a duration such as 24h "
        '(a whole number with s, m, h, d or w), found "24 hours"',
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("peeple: {}", 1, "peeple: unknown key 'peeple' (did you mean 'people'?)"),
        ("xyz: 1", 1, "unknown key 'xyz' (known: environments, repositories, people, notices, usage)"),
        ("- 1", 1, "expected a mapping with environments, repositories, people, notices, usage, found a list"),
        ("environments: []", 1, "environments: expected environments by name"),
        ("environments: {dev: {}}", 1, "environments.dev: 'registries' is missing"),
        ("environments: {dev: {registries: []}}", 1, "expected at least 1 in the list, found 0"),
        ("environments: {dev: {registries: [111111111111]}}", 1, "expected a registry: account/region"),
        (
            "environments: {dev: {registries: [11/us-east-2]}}",
            1,
            'expected a registry: account/region, such as 111111111111/us-east-2, found "11/us-east-2"',
        ),
        ("environments: {yes: {registries: [111111111111/us-east-2]}}", 1, "found true: put it in quotes"),
        ("environments: {1dev: {registries: [111111111111/us-east-2]}}", 1, "expected the name of an environment"),
        ("environments: {dev: {registries: [111111111111/us-east-2], repository: prod}}", 1, "that holds {name} once"),
        ("repositories: {match: x}", 1, "repositories: expected a list of repository entries"),
        ("repositories:\n  - tags: {}", 2, "repositories[0]: 'match' is missing"),
        ("repositories:\n  - match: 5", 2, "repositories[0].match: expected a repository or a glob"),
        ("repositories:\n  - match: Rocket/*", 2, "expected a repository or a glob such as rocketseat/*"),
        ("repositories:\n  - match: a\n    create: {encryption: KSM}", 3, "expected AES256 or KMS or KMS_DSSE"),
        ("repositories:\n  - match: a\n    create: {kms_key: alias/x}", 3, "a kms_key needs encryption: KMS"),
        ("repositories:\n  - match: a\n    create: {mutable_tags: [a, b, c, d, e, f]}", 3, "at most 5 in the list"),
        (
            "repositories:\n  - match: a\n    create: {pull: [222222222222]}",
            3,
            "create.pull[0]: an account id is a string of 12 digits: put it in quotes",
        ),
        ("repositories:\n  - match: a\n    create: {pull: ['22']}", 3, "expected an account id, a string of 12 digits"),
        ("repositories:\n  - match: a\n    tags: {allow: [1.0]}", 3, "found 1.0: put it in quotes"),
        ("repositories:\n  - match: a\n    tags: {allow: ['>=x']}", 3, "'>=x' is not a range of versions"),
        ("repositories:\n  - match: a\n    tags: {allow: ['a b']}", 3, "'a b' is not a tag, glob"),
        ("repositories:\n  - match: a\n    tags: {allow: ['>2', '<1']}", 3, "no tag can match all of: >2, <1"),
        ("repositories:\n  - match: a\n    verify: {layers: deep}", 3, "expected presence or content, found"),
        ("repositories:\n  - match: a\n    verify: {platforms: [amd64]}", 3, "expected a platform such as linux/arm64"),
        ("repositories:\n  - match: a\n    retention: {grace: 7}", 3, "expected a duration such as 24h"),
        ("repositories:\n  - match: a\n    retention: {at_most: 20}", 3, "expected a share from 0% to 100%"),
        ("repositories:\n  - match: a\n    retention: {at_most: 101%}", 3, "expected a share from 0% to 100%"),
        ("repositories:\n  - match: a\n    retention: {keep: [{oldest: 1}]}", 3, "expected {newest: 20, of: semver}"),
        ("repositories:\n  - match: a\n    retention: {keep: [{newest: 0}]}", 3, "a whole number, at least 1"),
        ("repositories:\n  - match: a\n    retention: {keep: [{tag: x, newest: 1}]}", 3, "unknown key 'tag'"),
        ("people: {promote: [bob]}", 1, "expected a role such as role/release-managers"),
        ("people: {dance: []}", 1, "unknown key 'dance'"),
        ("usage: {eks: {ignore: [shop]}}", 1, "usage.eks.ignore[0]: expected clusters by account/region/name"),
        ("usage: {eks: {ignore: ['222222222222/us-east-2/a?']}}", 1, "expected clusters by account/region/name"),
        ("usage: {eks: all}", 1, "expected the clusters to ignore"),
        ("usage: {ecs: {}}", 1, "unknown key 'ecs'"),
    ],
)
def test_a_problem_names_its_line_its_key_and_what_was_expected(text: str, line: int, message: str) -> None:
    found = problems(text)
    assert any(problem.startswith(f"tallyman.yaml:{line}: ") and message in problem for problem in found), found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{from: dev, to: dev}", "promotions[0].to: a promotion from 'dev' to itself"),
        ("{from: dev}", "promotions[0]: 'to' is missing"),
        ("{from: dev, to: prod, tags: [semver, '>2 <1']}", "tags: no tag can match all of: semver, >2 <1"),
        ("{from: dev, to: prod, gates: {scann: {}}}", "gate 'scann' is unknown to this version of Tallyman"),
        ("{from: dev, to: prod, gates: {scann: {}}}", "(did you mean 'scan'?)"),
        ("{from: dev, to: prod, gates: [soak]}", "expected gates, as in {verified: true, soak: 24h}, found a list"),
        ("{from: dev, to: prod, gates: {verified: 1}}", "gates.verified: expected true or false, found 1"),
        ("{from: dev, to: prod, gates: {soak: }}", "gates.soak: expected a duration such as 24h"),
        ("{from: dev, to: prod, gates: {scan: {max: {critical: -1}}}}", "a whole number, at least 0, found -1"),
        ("{from: dev, to: prod, gates: {scan: {max: {critical: 0.5}}}}", "a whole number, at least 0, found 0.5"),
        ("{from: dev, to: prod, gates: {scan: {max: {critical: true}}}}", "a whole number, at least 0, found true"),
        ("{from: dev, to: prod, gates: {scan: {max: {sever: 0}}}}", "scan.max.sever: unknown key 'sever'"),
        ("{from: dev, to: prod, gates: {scan: {unscannable: maybe}}}", "expected refuse or approve or pass"),
        ("{from: dev, to: prod, gates: {scan: {ignore: [{id: CVE-1}]}}}", "'until' is missing"),
        ("{from: dev, to: prod, gates: {scan: {ignore: [{id: x, until: soon}]}}}", "a date such as 2027-01-31"),
        ("{from: dev, to: prod, gates: {scan: {ignore: [{id: x, until: 2027-02-30}]}}}", "'2027-02-30' can't be read"),
        ("{from: dev, to: prod, gates: {scan: {ignore: [{id: x, until: '2027-02-30'}]}}}", "a date such as 2027-01-31"),
        ("{from: dev, to: prod, gates: {scan: {ignore: [{id: x, until: 2027-01-31T10:00:00Z}]}}}", "a date such as"),
    ],
)
def test_an_impossible_promotion_is_refused(text: str, message: str) -> None:
    found = problems(promotion(text))
    assert any(message in problem and problem.startswith("tallyman.yaml:7: ") for problem in found), found
    assert len(found) == 1


def test_an_unknown_gate_is_refused() -> None:
    found = problems(promotion("{from: dev, to: prod, gates: {aprovals: {count: 1}}}"))
    assert len(found) == 1
    assert "gates.aprovals: gate 'aprovals' is unknown to this version of Tallyman" in found[0]
    assert "expected one of verified, signed, built, attested, scan, soak, approvals, check, window, order" in found[0]
    assert "(did you mean 'approvals'?)" in found[0]


def test_every_mistake_in_a_gate_is_named() -> None:
    found = problems(
        promotion("{from: dev, to: prod, gates: {approvals: {count: 0, from: [bob]}, window: {days: fre}}}")
    )
    assert [problem.split("gates.")[1].split(":")[0] for problem in found] == [
        "approvals.count",
        "approvals.from[0]",
        "window.days",
        "window",  # between is missing
        "window",  # timezone is missing
    ]


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ("{signed: {by: []}}", "signed.by: expected at least 1 in the list"),
        ("{signed: {notation: []}}", "signed.notation: expected at least 1 in the list"),
        ("{signed: {notation: [{}]}}", "signed.notation[0]: expected either a subject or a profile"),
        ("{signed: {notation: [{subject: CN=x}]}}", "the subject must name C, ST, O; C, ST, O is missing"),
        ("{signed: {notation: [{subject: '*'}]}}", "is not one TYPE=value of a subject"),
        (
            "{signed: {notation: [{profile: release}]}}",
            "signed.notation[0].profile: expected the ARN of a signing profile",
        ),
        (
            "{signed: {notation: [{subject: 'C=US,ST=WA,O=x', root: 'sha256:1'}]}}",
            "root: expected sha256: and 64 digits",
        ),
        ("{signed: 1}", "signed: expected true or false"),
        ("{attested: everything}", "attested: expected sbom, provenance, or an artifact or predicate type"),
        ("{window: {days: mon-fri, between: '9-17', timezone: UTC}}", "window.between: expected times such as"),
        (
            "{window: {days: mon, between: '09:00-17:00', timezone: UTC, holidays: [soon]}}",
            "window.holidays[0]: expected a date such as 2027-01-31",
        ),
        ("{order: newest}", "order: expected true or false"),
    ],
)
def test_an_impossible_gate_is_refused(gates: str, message: str) -> None:
    (found,) = problems(promotion(f"{{from: dev, to: prod, gates: {gates}}}"))
    assert message in found


@pytest.mark.parametrize("name", ["recalled", "target", "tags", "verified", "nothing", "[soak]"])
def test_only_some_gates_may_be_overridden(name: str) -> None:
    (found,) = problems(promotion(f"{{from: dev, to: prod, gates: {{verified: true}}, overridable: [{name}]}}"))
    assert "overridable[0]: expected a gate that may be overridden (signed, built, attested, scan, soak," in found


def test_each_missing_key_is_named() -> None:
    found = problems(promotion("{tags: [semver]}"))
    assert [problem.split(": ")[2] for problem in found] == ["'from' is missing", "'to' is missing"]


def test_two_promotions_between_the_same_environments_for_one_tag_conflict() -> None:
    text = promotion(
        "{from: dev, to: prod, tags: [semver]}\n      - {from: dev, to: prod, tags: ['v1.*'], gates: {soak: 1h}}"
    )
    assert problems(text) == [
        "tallyman.yaml:8: repositories[0].promotions[1]: contradicts repositories[0].promotions[0]: both are from dev "
        "to prod, and both allow the tag v1.0.0"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("[semver]", "[semver-commit]"),
        ("[semver, '<1']", "[semver, '>=1']"),
        ("[semver]", "['stable-*']"),
        ("[a]", "[b]"),
    ],
)
def test_two_promotions_between_the_same_environments_for_different_tags_are_valid(first: str, second: str) -> None:
    text = promotion(f"{{from: dev, to: prod, tags: {first}}}\n      - {{from: dev, to: prod, tags: {second}}}")
    assert len(loads(text.encode()).repositories[0].promotions) == 2


def test_promotions_form_no_cycle() -> None:
    text = promotion("{from: dev, to: prod, tags: [semver]}\n      - {from: prod, to: dev, tags: [latest]}")
    assert problems(text) == [
        "tallyman.yaml:6: repositories[0].promotions: the promotions form a circle: dev → prod → dev"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [("rocketseat/*", "rocketseat/*"), ("*", "rocketseat/*"), ("rocketseat/*", "rocketseat/a"), ("a?", "ab")],
)
def test_an_entry_hidden_by_an_earlier_one_is_refused(first: str, second: str) -> None:
    (found,) = problems(f'repositories:\n  - match: "{first}"\n  - match: "{second}"\n')
    assert found.startswith(f"tallyman.yaml:3: repositories[1].match: '{second}' never applies: repositories[0]")


def test_a_registry_is_named_once_in_an_environment() -> None:
    (found,) = problems("environments:\n  dev: {registries: [111111111111/us-east-2, 111111111111/us-east-2]}")
    assert found == "tallyman.yaml:2: environments.dev.registries[1]: registry 111111111111/us-east-2 is listed twice"


@pytest.mark.parametrize(
    ("first", "second"), [("{name}", "{name}"), ("a/{name}", "a/{name}"), ("a/{name}", "{name}/b")]
)
def test_two_environments_in_one_registry_need_distinct_names(first: str, second: str) -> None:
    (found,) = problems(
        f'environments:\n  dev: {{registries: [111111111111/us-east-2], repository: "{first}"}}\n'
        f'  prod: {{registries: [111111111111/us-east-2], repository: "{second}"}}\n'
    )
    assert found.startswith(
        "tallyman.yaml:3: environments.prod: a repository in 111111111111/us-east-2 could belong to"
    )


def test_environments_with_equal_variable_names_are_refused() -> None:
    (found,) = problems(
        "environments:\n  us-1: {registries: [111111111111/us-east-2]}\n  US_1: {registries: [222222222222/us-east-2]}"
    )
    assert "the names 'us-1' and 'US_1' differ only in case, _ or -" in found


@pytest.mark.parametrize(
    ("raw", "line", "message"),
    [
        (b"a: 1\na: 2\n", 2, "'a' is there twice, first in line 1"),
        (b"environments:\n\tdev: x\n", 2, "expected spaces"),
        (b"environments: [\n", 2, "not YAML"),
        (b"environments: {dev: {registries: [111111111111/us-east-2]}\nrepositories: []\n", 2, "not YAML"),
        (b"a: 1\n--- \nb: 2\n", 2, "not YAML"),
        (b"x: *nowhere\n", 1, "not YAML: found undefined alias"),
        (b"x: 1\n\xff\xfe: 2\n", 2, "expected UTF-8 text"),
        (b"x: 1\ny: \x07\n", 2, "a character that YAML does not allow"),
        (b"people: !!python/object:os.system {}\n", 1, "the unknown tag"),
        (b"x: !thing 1\n", 1, "'1' can't be read: could not determine a constructor for the tag '!thing'"),
        (b"people: &a {promote: *a}\n", 1, "an alias to a part that contains it"),
        (b"? [a, b]\n: 1\n", 1, "expected text as a key, found a list or a mapping"),
        (b"repositories: [{<<: 1}]\n", 1, "not YAML"),
        (b"x: " + b"9" * 5000 + b"\n", 1, "can't be read"),
    ],
)
def test_yaml_errors_are_reported_with_their_line(raw: bytes, line: int, message: str) -> None:
    found = problems(raw)
    assert any(problem.startswith(f"tallyman.yaml:{line}: ") and message in problem for problem in found), found


def test_exponential_aliases_are_refused() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (found,) = problems("\n".join(layers))
    assert "more than 100000 parts" in found


@pytest.mark.parametrize(("text", "number"), [("010", 8), ("0x10", 16), ("12:30", 750), ("0b11", 3)])
def test_numbers_that_other_readers_of_yaml_read_otherwise_are_refused(text: str, number: int) -> None:
    found = problems(f"repositories:\n  - match: a/*\n    retention: {{keep: [{{newest: {text}}}]}}\n")
    assert any(f"'{text}' would be {number} in YAML 1.1: write a decimal number" in problem for problem in found), found


def test_exponential_merges_take_no_time() -> None:
    layers = ["a0: &a0 {match: x}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))]
    assert all("unknown key 'a" in found for found in problems("\n".join(layers)))


def test_endless_nesting_is_refused() -> None:
    (found,) = problems("x: " + "[" * 20_000)
    assert "not YAML" in found or "nested too deeply" in found


def test_a_file_that_is_too_large_is_refused() -> None:
    (found,) = problems(b"#" * (1024 * 1024 + 1))
    assert "expected at most 1048576 bytes" in found


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.yaml: can't be read: No such file"):
        load(tmp_path / "nowhere.yaml")


def test_plain_data_without_positions_names_the_key() -> None:
    with pytest.raises(PolicyProblem, match=r"^tallyman\.yaml: people.promote: expected a list"):
        parsed({"people": {"promote": "role/x"}})


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("[edge]", "no tag of edge is allowed by the repository's tags.allow (semver, latest)"),
        ("[semver, latest, '>=1']", "'latest' can never match: it is not a version"),
    ],
)
def test_suspicious_settings_are_a_warning(tags: str, message: str) -> None:
    text = promotion(f"{{from: dev, to: prod, tags: {tags}}}") + "    tags: {allow: [semver, latest]}\n"
    (warning,) = loads(text.encode()).warnings
    assert warning.startswith("tallyman.yaml:7: repositories[0].promotions[0].tags: ")
    assert message in warning
