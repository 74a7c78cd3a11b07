"""The second look right before a removal: everything is read again, whatever happened since the plan; and its cost."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.retention import ENFORCED, RetentionStack
from support.images.builders import DEV, image, index, signature
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest
from tallyman.domain.usage import Use
from tallyman.state import pending, releases
from tallyman.state.pending import PENDING, Pending
from tallyman.state.releases import RELEASES, ReleaseState


def task(digest: Digest) -> Use:
    return Use("ecs task", "web/1", DEV.at(digest), DEV.registry, DEV, None, digest)


def before_the_second_look(system: RetentionStack, happens: Callable[[], object]) -> None:
    """Run a function after the plan is made and before anything is removed."""

    def asked() -> None:
        if system.usage.times == 1:
            happens()

    system.usage.asked = asked


def removes(system: RetentionStack, digests: list[Digest]) -> None:
    """A person removes these."""
    for digest in digests:
        system.registries.delete(DEV, digest)


@pytest.mark.parametrize("rule", ["keep: [{newest: 2, of: semver}]", "keep: [{tag: nothing}], at_least: 2"])
def test_if_the_newest_are_removed_meanwhile_the_next_newest_stay(rule: str) -> None:
    system = RetentionStack(f"{{{rule}, grace: 0s, at_most: 100%, enforce: true}}")
    first, second, *newest = system.versions(4)
    before_the_second_look(system, lambda: removes(system, newest))
    system.run()
    assert system.present() == {first, second}
    assert {f.digest for f in system.facts(Kind.UNMARKED)} == {first, second}


def test_an_image_that_is_pushed_again_and_runs_keeps_its_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyman.services.retention.apply_retention.BATCH", 1)
    system = RetentionStack()
    old = image("old")
    system.push("v1.0.0", old)
    signed = system.push(None, signature(old))
    system.push("v2.0.0")
    system.push("v2.1.0")
    system.clock.advance(days=1)
    remove = system.remover.remove

    def remove_and_push_again(*given: Any) -> Any:
        failed = remove(*given)
        if old.digest not in system.present():
            system.registries.push(DEV, old, "v1.0.1")
            system.usage.uses.append(task(old.digest))
        return failed

    monkeypatch.setattr(system.remover, "remove", remove_and_push_again)
    system.run()
    assert {old.digest, signed} <= system.present()


def test_an_image_that_an_index_lists_meanwhile_stays() -> None:
    system = RetentionStack()
    old, *_ = system.versions(3)
    built = index(image("v1.0.0"))
    assert old in built.manifests
    before_the_second_look(system, lambda: system.registries.push(DEV, built, "v9.0.0"))
    system.run()
    assert old in system.present()


def test_a_tag_that_is_set_meanwhile_keeps_the_image() -> None:
    system = RetentionStack(ENFORCED.replace("keep: [", "keep: [{tag: stable}, "))
    old, *_ = system.versions(3)
    before_the_second_look(system, lambda: system.registries.push(DEV, image("v1.0.0"), "stable"))
    system.run()
    assert old in system.present()


def test_images_pushed_meanwhile_count_for_at_most() -> None:
    system = RetentionStack(ENFORCED.replace("at_most: 100%", "at_most: 50%"))
    _, old, *rest = system.versions(4)
    before_the_second_look(system, lambda: removes(system, rest))
    system.run()
    assert old in system.present()  # the newest image was removed by a person


def points(system: RetentionStack, digest: Digest, announced: bool) -> None:
    """Move prod's release."""
    release = ReleaseState("a" * 32, digest, ("v1.0.0",), system.policy.digest, system.clock(), None, announced)
    entry = RELEASES.read(system.state, releases.key("prod", DEV.name))
    system.state.put(entry.write(release))


def test_a_release_counts_before_it_is_announced() -> None:
    """The worker died after it moved the release; the pending promotion no longer exists."""
    system = RetentionStack()
    old, *_ = system.versions(3)
    points(system, old, announced=False)
    system.run()
    assert old in system.present()
    (image,) = [i for i in system.plan().images() if i.digest == old]
    assert image.reason.startswith("released: prod runs it since")


def test_an_image_promoted_between_two_reads_is_found_by_one_of_them() -> None:
    system = RetentionStack()
    old, *_ = system.versions(3)
    waits = Pending(old, DEV.name, "dev", "prod", ("v1",), "waiting", None, None, system.clock(), None, None, True)
    key = pending.key("prod", DEV.name, old, "dev")
    system.state.put(PENDING.read(system.state, key).write(waits))
    read: list[str] = []

    def promotes(what: str) -> None:
        """The promotion ends right after the first of the two reads."""
        read.append(what)
        if len(read) == 1:
            system.state.put(PENDING.read(system.state, key).remove(system.clock()))
            points(system, old, announced=True)
            system.ledger.append(released(old, system.clock(), 0))

    listed, entries = system.state.list, system.ledger.of_environment

    def lists(pk: str, prefix: str = "") -> Iterator[Any]:
        found = list(listed(pk, prefix))
        if pk == key[0]:
            promotes("waiting")
        return iter(found)

    def tells(environment: str, repository: str | None = None) -> Iterator[Fact]:
        found = list(entries(environment, repository))
        if environment == "prod":
            promotes("released")
        return iter(found)

    system.state.list = lists  # type: ignore[method-assign]
    system.ledger.of_environment = tells  # type: ignore[method-assign]
    assert not system.plan().goes(old)
    assert read == ["waiting", "released"]


def released(digest: Digest, at: Any, number: int) -> Fact:
    detail = {"repository": DEV.name, "tags": ["v1.0.0"], "previous": None}
    return Fact(Kind.RELEASED, fact_id("r", number), at, at, Via.RECONCILED, digest, None, None, "prod", detail=detail)


@pytest.mark.parametrize("old", [True, False])
def test_the_releases_of_all_time_are_read_once_or_not_at_all(old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of releases that are read: a run of one batch and a run of ten, after one release and after 500."""
    monkeypatch.setattr("tallyman.services.retention.apply_retention.BATCH", 1)

    def run(releases: int, removals: int) -> int:
        system = RetentionStack()
        *_, running = system.versions(removals + 2)
        since = system.clock() - timedelta(days=400 if old else 20)
        for number in range(releases):
            system.ledger.append(released(running, since + timedelta(minutes=number * 5), number))
        entries, read = system.ledger.of_environment, [0]

        def counted(environment: str, repository: str | None = None) -> Iterator[Fact]:
            for fact in entries(environment, repository):
                read[0] += 1
                yield fact

        system.ledger.of_environment = counted  # type: ignore[method-assign]
        assert system.run().startswith(f"{removals} removed")
        return read[0]

    assert run(500, 1) - run(1, 1) <= (4 if old else 530)
    assert run(500, 10) - run(500, 1) <= 10 * 14  # those of the last hour, for a release recorded late


def test_a_release_within_the_roll_back_period_is_kept_whatever_followed() -> None:
    system = RetentionStack()
    first, second, *_ = system.versions(4)
    start = system.clock() - timedelta(days=300)
    running = system.push("v3.0.0")
    system.push("v3.1.0")
    system.clock.advance(days=1)
    for number, (digest, at) in enumerate(
        [(first, start), (second, start + timedelta(days=1)), (running, system.clock() - timedelta(days=29))]
    ):
        system.ledger.append(released(digest, at, number))
    system.run()
    assert second in system.present()  # ran for 270 days, until 29 days ago
    assert first not in system.present()


def test_the_second_look_reads_no_known_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyman.services.retention.apply_retention.BATCH", 1)
    system = RetentionStack()
    system.versions(8)
    manifests, asked = system.registries.manifests, [0]

    def counted(repository: Any, references: Any) -> Any:
        asked[0] += len(references)
        return manifests(repository, references)

    monkeypatch.setattr(system.registries, "manifests", counted)
    assert system.run().startswith("6 removed")
    assert asked[0] == 8 + 6  # each once for the plan, and each removed one for its proof
