"""Sends a test event from a registry's own bus to the function that records events, at `tallyman doctor`'s request.

It goes through the same rule, role, bus, queue and function as ECR's events, under a source of its own. It is recorded
as an item of the state table that expires, not as a fact.
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
    """The part of `reconcile` that serves the doctor: only functions hold the roles that reach the spokes' buses."""

    state: State
    buses: RegistryBuses
    clock: Clock

    def answer(self, asked: Mapping[str, Any], registries: Iterable[EcrRegistry], nonce: str) -> dict[str, Any]:
        """Answer {trips, ways}. `trips`, for {round_trip: true}: [{registry, nonce, error}], a test event sent from
        each registry; `ways`, for {ways: true}: [{registry, rule, enabled, undelivered, error}]; each None where it was
        not requested. Raises BadInput. Cost: a write and a PutEvents, or four reads, for each registry."""
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
        with suppress(RevisionConflict):  # the answer of an earlier try was lost
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
    """Record that a test event arrived, if one with its nonce is awaited from its registry; return the line for the
    log. Somebody who knows the nonce could forge the arrival of the event, and nothing else.

    Cost: a read, and a write if it is news. Raises RevisionConflict where another was faster.
    """
    entry = TRIPS.read(state, trip_key(event.nonce, event.registry)) if event.nonce else None
    if entry is None or entry.found is None or (entry.expires is not None and entry.expires < now):
        return "ignored: this test event is not awaited"
    if entry.found.arrived is not None:
        return "test event arrived (known)"
    state.put(entry.write(replace(entry.found, arrived=now), entry.expires))
    return "test event arrived"
