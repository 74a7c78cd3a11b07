"""The cost of an event depends on its image, not on its repository's history."""

from typing import Any

import pytest

from support.fakes.recording import RecordingStack, policy
from support.images.builders import DEV, image, index, push_event
from tallyman.domain.names import Digest
from tallyman.state import tags
from tallyman.state.tags import TAGS, Tag


def counted(system: RecordingStack, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the calls of ledger, state and registries from now on."""
    calls: list[str] = []
    for port, names in (
        (system.ledger, ("append", "of_digest", "of_repository", "of_tag")),
        (system.state, ("get", "get_many", "list", "put")),
        (system.registries, ("manifest", "manifests", "describe", "images")),
    ):
        for name in names:
            real = getattr(port, name)

            def call(*args: Any, _real: Any = real, _name: str = name, **named: Any) -> Any:
                calls.append(_name)
                return _real(*args, **named)

            monkeypatch.setattr(port, name, call)
    return calls


def cost_of_a_removal(tagged: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int]:
    system = RecordingStack(policy(soak="1h"))
    app = image("gone")
    system.registries.push(DEV, app, "v1.0.0")
    system.deliver(push_event(DEV, app.digest, "v1.0.0", at=system.clock()))
    for number in range(tagged):  # tags that the repository had at some time
        entry = TAGS.read(system.state, tags.key(DEV, f"old-{number}"))
        system.state.put(entry.write(Tag(Digest.of(f"{number}".encode()), system.clock())))
    system.registries.delete(DEV, app.digest)
    system.clock.advance(seconds=5)
    calls = counted(system, monkeypatch)
    listed = [0]
    real = system.state.list

    def count(*args: Any) -> Any:
        for item in real(*args):
            listed[0] += 1
            yield item

    monkeypatch.setattr(system.state, "list", count)
    system.deliver(push_event(DEV, app.digest, "", at=system.clock(), action="DELETE"))
    assert system.points_to("v1.0.0") is None
    return calls, listed[0]


def test_a_removal_costs_the_same_however_many_tags_the_repository_ever_had(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for tagged in (1, 100, 400):
        with monkeypatch.context() as patch:
            costs.append(cost_of_a_removal(tagged, patch))
    assert costs[0] == costs[1] == costs[2]


def test_pushing_an_index_again_writes_nothing_about_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for children in (1, 100):
        system = RecordingStack(policy(soak="1h"))
        built = index(*[image(str(number)) for number in range(children)])
        system.registries.push(DEV, built, "v1.0.0")
        system.deliver(push_event(DEV, built.digest, "v1.0.0", at=system.clock()))
        system.clock.advance(seconds=5)
        system.registries.push(DEV, built, "v1.0.1")
        with monkeypatch.context() as patch:
            calls = counted(system, patch)
            system.deliver(push_event(DEV, built.digest, "v1.0.1", at=system.clock()))
            costs.append(calls.count("append"))
    assert costs[0] == costs[1]


def test_a_first_sweep_reads_manifests_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    system = RecordingStack(policy(soak="1h"))
    for number in range(100):
        system.registries.push(DEV, image(str(number)))
    calls = counted(system, monkeypatch)
    system.reconcile({"repositories": ["dev/*"]})
    assert calls.count("manifest") == 0
    assert calls.count("manifests") == 4
