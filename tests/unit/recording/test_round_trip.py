"""A test event from each registry's bus to record_push: expected ones are answered, and none becomes a fact."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.fakes.recording import RecordingStack
from support.images.builders import DEV, PROD, PROD_SA
from tallyman.domain.events.eventbridge import TRIP, TRIP_SOURCE, RoundTrip, parse_event
from tallyman.domain.names import EcrRegistry
from tallyman.errors import BadInput, NotAllowed
from tallyman.ports.messages import Way
from tallyman.state import trips

NONCE = "8f0a2c7e-1111-4222-8333-944455556666"
PLACES = [DEV.registry, PROD.registry, PROD_SA.registry]


@dataclass
class FakeBuses:
    """`RegistryBuses`; `sent`: the events that were put; `refusing`: registries that refuse access."""

    refusing: set[EcrRegistry] = field(default_factory=set)
    sent: list[tuple[EcrRegistry, str]] = field(default_factory=list)

    def send(self, registry: EcrRegistry, nonce: str) -> None:
        if registry in self.refusing:
            raise NotAllowed(f"assume the role in {registry}: no")
        self.sent.append((registry, nonce))

    def way(self, registry: EcrRegistry) -> Way:
        if registry in self.refusing:
            raise NotAllowed(f"assume the role in {registry}: no")
        return Way("tallyman-spoke-image", registry != PROD_SA.registry, 3)


def event(registry: EcrRegistry = PROD.registry, nonce: Any = NONCE, source: str = TRIP_SOURCE) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "5f0c4a0e-0000-4000-8000-000000000000",
        "detail-type": TRIP,
        "source": source,
        "account": registry.account,
        "time": "2026-11-16T01:54:34Z",
        "region": registry.region,
        "resources": [],
        "detail": {"nonce": nonce},
    }


def asked(system: RecordingStack, buses: FakeBuses, request: dict[str, Any]) -> dict[str, Any]:
    """The answer of reconcile."""
    system.buses = buses
    return system.process().reconcile.run(request, NONCE, lambda: 100.0)


def item(system: RecordingStack, registry: EcrRegistry) -> dict[str, Any]:
    found = system.state.get(*trips.key(NONCE, registry))
    assert found is not None
    return dict(found.data)


def test_a_test_event_per_registry_is_registered_before_it_is_sent() -> None:
    system, buses = RecordingStack(), FakeBuses({PROD.registry})
    answer = asked(system, buses, {"repositories": [], "round_trip": True})
    assert [(t["registry"], t["nonce"]) for t in answer["trips"]] == [(str(r), NONCE) for r in PLACES]
    assert [t["error"] and "no" in t["error"] for t in answer["trips"]] == [None, True, None]
    assert buses.sent == [(DEV.registry, NONCE), (PROD_SA.registry, NONCE)]
    assert item(system, DEV.registry)["arrived"] is None
    assert answer["ways"] is None


def test_only_requested_runs_send_test_events() -> None:
    system, buses = RecordingStack(), FakeBuses()
    by_the_clock = asked(system, buses, {"source": "aws.events", "round_trip": True, "ways": True})
    assert (by_the_clock["trips"], by_the_clock["ways"], buses.sent) == (None, None, [])
    assert asked(system, buses, {"repositories": []})["trips"] is None
    with pytest.raises(BadInput, match="'round_trip' must be true or false"):
        asked(system, buses, {"repositories": [], "round_trip": "yes"})


def test_the_forwarding_state_of_each_registry_is_read_by_the_stacks_own_role() -> None:
    ways = asked(RecordingStack(), FakeBuses({DEV.registry}), {"repositories": [], "ways": True})["ways"]
    assert "no" in ways[0]["error"]
    assert [(w["enabled"], w["undelivered"], w["error"]) for w in ways[1:]] == [(True, 3, None), (False, 3, None)]


def test_an_arrival_is_recorded_once_and_is_no_fact() -> None:
    system = RecordingStack()
    asked(system, FakeBuses(), {"repositories": [], "round_trip": True})
    system.clock.advance(seconds=2)
    record = system.process().record
    assert record.handle(json.dumps(event())) == "test event arrived"
    first = item(system, PROD.registry)
    assert first["arrived"] > first["sent"]
    system.clock.advance(seconds=2)
    assert record.handle(json.dumps(event())) == "test event arrived (known)"
    assert item(system, PROD.registry) == first
    assert item(system, PROD_SA.registry)["arrived"] is None  # each registry's own
    assert system.ledger.facts == []
    assert not any(pk.startswith("A#") for pk, _ in system.state.items)  # nor does it mark anything as active


@pytest.mark.parametrize(
    "forged",
    [
        event(nonce="00000000-0000-4000-8000-000000000000"),
        event(registry=EcrRegistry("333333333333", "us-east-2")),
        event(nonce="x" * 100_000),
        event(nonce={"a": 1}),
        event(nonce=None),
        event(source="my.application"),
        {**event(), "detail": {}},
    ],
    ids=["a nonce of nobody", "another account", "too long", "no text", "null", "another source", "none"],
)
def test_a_forged_test_event_changes_nothing_and_is_no_dead_letter(forged: dict[str, Any]) -> None:
    system = RecordingStack()
    asked(system, FakeBuses(), {"repositories": [], "round_trip": True})
    before = dict(system.state.items)
    assert system.process().record.handle(json.dumps(forged)).startswith("ignored")
    assert system.state.items == before
    assert system.ledger.facts == []


def test_a_late_test_event_is_ignored() -> None:
    system = RecordingStack()
    asked(system, FakeBuses(), {"repositories": [], "round_trip": True})
    system.clock.advance(hours=2)
    assert system.process().record.handle(json.dumps(event())).startswith("ignored")


def test_the_registry_of_a_test_event_is_that_of_its_bus() -> None:
    assert parse_event(json.dumps(event())) == RoundTrip(event()["id"], PROD.registry, NONCE)


@pytest.mark.parametrize("nonce", ["", "short", "x" * 65, "a#b/c:d.e f", 7, None])
def test_an_invalid_nonce_is_refused(nonce: Any) -> None:
    found = parse_event(json.dumps(event(nonce=nonce)))
    assert isinstance(found, RoundTrip)
    assert found.nonce is None
