"""`tallyman history`, and the reads behind it."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.fakes.cli_stack import FakeStack
from support.fakes.ports import FakeLedger
from support.images.builders import DEV, NOON, PROD, PROD_SA, digest_of, fact, image, multi_arch, pushed
from tallyman.domain.history.facts import Fact, Kind, Via
from tallyman.domain.history.fold import history
from tallyman.domain.names import Digest, Repository
from tallyman_cli.shared import rows

NAME = "dev/rocketseat/widget-server"


def test_a_move_of_a_tag_is_two_rows_newest_first(system: FakeStack) -> None:
    first, second = image("one"), image("two")
    system.push(first, "latest")
    system.clock.advance(minutes=1)
    system.push(second, "latest")
    found = system.json("history", f"{NAME}:latest")
    assert [(r["kind"], r["digest"]) for r in found] == [
        ("tag_moved", second.digest),
        ("pushed", second.digest),
        ("pushed", first.digest),
    ]
    keys = {"at", "seen", "kind", "registry", "repository", "tag", "digest", "actor", "via", "commit"}
    assert set(found[0]) == keys
    assert found[0]["registry"] == "111111111111/us-east-2"
    assert found[0]["repository"] == "rocketseat/widget-server"
    assert (found[0]["via"], found[0]["actor"]) == ("event", None)


def test_at_a_moment_the_newest_row_is_the_tags_digest_then(system: FakeStack) -> None:
    first, second = image("one"), image("two")
    system.push(first, "latest")
    system.clock.advance(minutes=1)
    system.push(second, "latest")
    found = system.json("history", f"{NAME}:latest", "--at", "2026-11-16T01:55:00Z")
    assert [r["digest"] for r in found] == [first.digest]


def test_an_environment_of_two_registries_shows_both_and_a_numbered_one_only_its_own(everywhere: FakeStack) -> None:
    app = image("one")
    everywhere.push(app, "v1.0.0", PROD)
    everywhere.push(app, "v1.0.0", PROD_SA)
    both = everywhere.json("history", "prod/rocketseat/widget-server")
    assert {r["registry"] for r in both} == {str(PROD.registry), str(PROD_SA.registry)}
    second = everywhere.json("history", "prod[2]/rocketseat/widget-server:v1.0.0")
    assert {r["registry"] for r in second} == {str(PROD_SA.registry)}


def test_an_ecr_address_and_a_port_of_the_local_cloud_mean_their_registry(system: FakeStack) -> None:
    app = image("one")
    system.push(app, "v1.0.0")
    address = "111111111111.dkr.ecr.us-east-2.amazonaws.com/rocketseat/widget-server:v1.0.0"
    assert [r["digest"] for r in system.json("history", address)] == [app.digest]
    result = system.run("history", "localhost:5101/rocketseat/widget-server", TALLYMAN_REGISTRY_DEV_1="localhost:5101")
    assert app.digest in result.stdout
    other = system.run("history", "localhost:5999/rocketseat/widget-server")
    assert (other.exit_code, other.stdout) == (2, "")
    assert "5999" in other.stderr


def test_a_pattern_means_every_repository_that_matches(system: FakeStack) -> None:
    system.push(image("one"), "v1.0.0")
    assert len(system.json("history", "dev/rocketseat/*")) == 1
    assert system.run("history", "dev/other/*").exit_code == 1
    assert system.run("history", "dev/rocketseat/*:v1").exit_code == 2


def test_a_digest_shows_the_images_history_under_every_tag(system: FakeStack) -> None:
    first, second = image("one"), image("two")
    system.push(first, "v1.0.0")
    system.push(first, "latest")
    system.clock.advance(minutes=1)
    system.push(second, "latest")
    found = system.json("history", f"{NAME}@{first.digest}")
    assert {(r["kind"], r["tag"]) for r in found} == {("pushed", "v1.0.0"), ("pushed", "latest")}


def test_without_facts_the_list_is_empty_and_a_note_says_so(system: FakeStack) -> None:
    result = system.run("history", NAME, "--json")
    assert (result.exit_code, result.stdout.strip()) == (0, "[]")
    assert "nothing is recorded" in result.stderr


def test_a_row_without_a_terminal_is_one_line_with_the_whole_digest(system: FakeStack) -> None:
    app = multi_arch()
    system.push(app, "v1.0.0")
    lines = system.run("history", f"{NAME}:v1.0.0").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].split() == ["at", "kind", "image", "digest", "via"]
    assert app.digest in lines[1]
    assert "\x1b" not in lines[1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["history", "nonsense"], "not a repository"),
        (["history", "staging/rocketseat/widget-server"], "unknown environment"),
        (["history", "prod[3]/rocketseat/widget-server"], "2 registries"),
        (["history", NAME, "--at", "yesterday"], "not a time"),
        (["history", NAME, "--limit", "0"], "--limit"),
        (["history"], "IMAGE|REPOSITORY"),
        (["history", f"{NAME}@sha256:1"], "not a digest"),
    ],
)
def test_bad_input_exits_2_with_one_message_and_no_output(system: FakeStack, arguments: list[str], word: str) -> None:
    result = system.run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_a_removed_image_ends_the_history_of_the_tag_that_pointed_to_it() -> None:
    ledger = FakeLedger()
    gone, other = digest_of("gone"), digest_of("other")
    ledger.append(pushed(gone, "v1", at=NOON))
    ledger.append(fact(Kind.DELETED, gone, DEV, at=NOON + timedelta(hours=1)))
    ledger.append(pushed(other, "v1", at=NOON + timedelta(hours=2)))
    assert [r.kind for r in rows.of_tag(ledger, DEV, "v1")] == ["pushed", "deleted", "pushed"]
    ledger.append(fact(Kind.DELETED, gone, DEV, at=NOON + timedelta(hours=3)))
    assert [r.kind for r in rows.of_tag(ledger, DEV, "v1")] == ["pushed", "deleted", "pushed"]


_DIGESTS = [digest_of(text) for text in "abc"]
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from([Kind.PUSHED, Kind.PUSHED, Kind.PUSHED, Kind.UNTAGGED, Kind.DELETED]),
        st.sampled_from(_DIGESTS),
        st.sampled_from(["latest", "v1", "v2", None]),
        st.integers(0, 400),
        st.sampled_from([Via.EVENT, Via.RECONCILED]),
    ),
    max_size=300,
)


def _fact(kind: Kind, digest: Digest, tag: str | None, seconds: int, via: Via) -> Fact:
    tag = None if kind is Kind.DELETED else (tag or "v1") if kind is Kind.UNTAGGED else tag
    return fact(kind, digest, DEV, tag, at=NOON + timedelta(seconds=seconds), via=via)


@given(_EVENTS, st.integers(1, 6))
@settings(max_examples=examples(60), deadline=None)
def test_with_a_limit_the_rows_are_the_first_of_all_rows(
    events: list[tuple[Kind, Digest, str | None, int, Via]], limit: int
) -> None:
    ledger = FakeLedger()
    for event in events:
        ledger.append(_fact(*event))
    everything = history(ledger.of_repository(DEV))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "_FIRST", 2)  # so that most facts are after the first chunk
        assert rows.of_repository(ledger, DEV, limit=limit) == everything[:limit]


def test_with_a_limit_few_facts_are_read() -> None:
    class Counting(FakeLedger):
        read = 0

        def of_repository(self, *arguments, **more):  # type: ignore[no-untyped-def]
            for each in super().of_repository(*arguments, **more):
                Counting.read += 1
                yield each

    ledger = Counting()
    for number in range(1000):
        ledger.append(pushed(digest_of(str(number)), f"v1.0.{number}", at=NOON + timedelta(minutes=number)))
    assert [r.tag for r in rows.of_repository(ledger, DEV, limit=3)] == ["v1.0.999", "v1.0.998", "v1.0.997"]
    assert Counting.read < 100


def test_a_missing_repository_is_reported_and_one_without_history_is_no_error(system: FakeStack) -> None:
    result = system.run("history", "dev/rocketseat/nothing-here")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no repository rocketseat/nothing-here in 111111111111/us-east-2" in result.stderr
    assert system.run("history", "dev/rocketseat/nothing-here:v1.0.0").exit_code == 1
    assert "there is no repository" in system.json("history", "dev/rocketseat/nothing-here", status=1)["error"]
    empty = Repository(DEV.registry, "rocketseat/empty")
    system.registries.add(empty)
    result = system.run("history", "dev/rocketseat/empty")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing is recorded" in result.stderr


def test_a_future_moment_is_answered_with_what_is_known_now(system: FakeStack) -> None:
    system.push(image("one"), "latest")
    system.clock.advance(minutes=1)
    system.push(image("two"), "latest")
    now, then = (system.run("history", f"{NAME}:latest", *more) for more in ((), ("--at", "8999-12-31T23:59:59Z")))
    assert (then.exit_code, then.stdout) == (0, now.stdout)
    assert "is in the future" in then.stderr
    assert now.stderr == ""
