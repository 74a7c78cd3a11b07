"""A test event from a registry's own bus to the function that records its events: `tallyman doctor` asks for it.

It takes the way of ECR's events (rule, role, bus, queue, function) under a source of its own. What it writes is no
fact: an item of the state table that expires.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from tallyman.domain.events.eventbridge import RoundTrip
from tallyman.domain.names import EcrRegistry
from tallyman.errors import BadInput, RevisionConflict, TallymanError
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import RegistryBuses
from tallyman.ports.records import State
from tallyman.state.trips import KEPT, TRIPS, Trip
from tallyman.state.trips import key as trip_key
from tallyman.values import value


@value
class RoundTrips:
    """What `reconcile` does for the doctor: only functions hold the roles that reach the spokes' buses."""

    state: State
    buses: RegistryBuses
    clock: Clock

    def answer(self, asked: Mapping[str, Any], registries: Iterable[EcrRegistry], nonce: str) -> dict[str, Any]:
        """`trips`, where the event asks for {round_trip: true}: [{registry, nonce, error}], one sent from each
        registry; `ways`, where it asks for {ways: true}: [{registry, rule, enabled, undelivered, error}]. None where
        it does not ask. Cost: a write and a PutEvents, or four reads, for each registry."""
        places = list(registries)
        for key in ("round_trip", "ways"):
            if not isinstance(asked.get(key, False), bool):
                raise BadInput(f"reconcile: '{key}' must be true or false")
        return {
            "trips": [self._send(r, nonce) for r in places] if asked.get("round_trip") else None,
            "ways": [self._way(r) for r in places] if asked.get("ways") else None,
        }

    def _send(self, registry: EcrRegistry, nonce: str) -> dict[str, Any]:
        report: dict[str, Any] = {"registry": str(registry), "nonce": nonce, "error": None}
        now = self.clock()
        with suppress(RevisionConflict):  # its answer got lost, and it was sent again
            self.state.put(TRIPS.entry(trip_key(nonce, registry), None).write(Trip(now), now + KEPT))
        try:
            self.buses.send(registry, nonce)
        except TallymanError as error:
            report["error"] = str(error)
        return report

    def _way(self, registry: EcrRegistry) -> dict[str, Any]:
        report: dict[str, Any] = {
            "registry": str(registry),
            "rule": None,
            "enabled": None,
            "undelivered": None,
            "error": None,
        }
        try:
            way = self.buses.way(registry)
        except TallymanError as error:
            return report | {"error": str(error)}
        return report | {"rule": way.rule, "enabled": way.enabled, "undelivered": way.undelivered}


def arrived(state: State, event: RoundTrip, now: datetime) -> str:
    """Notes that a test event arrived, if one is awaited under its nonce from the registry that it comes from; the line
    for the log. Whoever forges one can, with the nonce, say that their own arrived, and nothing else.

    Cost: a read, and a write if it is news. Raises RevisionConflict where another was faster.
    """
    entry = TRIPS.read(state, trip_key(event.nonce, event.registry)) if event.nonce else None
    if entry is None or entry.found is None or (entry.expires is not None and entry.expires < now):
        return "ignored: nobody waits for this test event"
    if entry.found.arrived is not None:
        return "test event arrived (known)"
    state.put(entry.write(replace(entry.found, arrived=now), entry.expires))
    return "test event arrived"
