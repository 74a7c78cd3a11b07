"""EventBridge: find the rules that match an event, and deliver it to their targets.

Rules, buses and their policies are in moto's backends, created by the stacks or by PutRule; moto also matches patterns.
This module delivers: account, region, time and id survive forwarding; a forwarded event is not forwarded again; the
policies of queues and buses are checked; an event that can't be delivered goes to the target's dead-letter queue.
Without chaos, all deliveries happen before `emit` returns.
"""

import heapq
import itertools
import json
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.events.models import EventBus, Rule, events_backends

from tallyman.domain.times import format_time, second_of
from tallyman_local.ecr.policies import allows, statements
from tallyman_local.events.chaos import Chaos, Settings
from tallyman_local.events.targets import Undeliverable, input_of, send
from tallyman_local.moto import calls as moto_calls

Event = dict[str, Any]
Json = dict[str, Any]

log = logging.getLogger("tallyman.local")

CHAOTIC = ("aws.ecr", "aws.inspector2")
MAX_ENTRY = 1_048_576  # bytes of a PutEvents request


class Bus:
    """All buses of all accounts and regions.

    `invoke(function_arn, payload)` passes an event to a function. `role_may(role, action, resource)`: whether the role
    of a target allows a call. `counts`: events emitted, delivered, forwarded, unmatched, lost, doubled, failed (sent to
    a dead-letter queue) and dropped.
    """

    def __init__(
        self,
        *,
        invoke: Callable[[str, Any], None],
        role_may: Callable[[str, str, str], bool] = lambda role, action, resource: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._invoke, self._role_may, self._clock = invoke, role_may, clock
        self._chaos: Chaos | None = None
        self._held: list[tuple[float, int, Event, str, str, str]] = []
        self._order = itertools.count()
        self._delivering = 0
        self.counts: Counter[str] = Counter()
        self._stopped = False
        self._thread = threading.Thread(target=self._deliver_held, name="bus", daemon=True)

    def start(self) -> None:
        """Start to deliver the events that chaos delays."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; delayed events stay undelivered."""
        with moto_calls.CHANGED:
            self._stopped = True
            moto_calls.CHANGED.notify_all()
        self._thread.join(timeout=2)

    def emit(self, event: Event, account: str, region: str, bus: str = "default") -> None:
        """Put an event of an AWS service on a bus of this account and region."""
        with moto_calls.LOCK:
            self.counts["emitted"] += 1
            delays = [0.0]
            if self._chaos and event.get("source") in CHAOTIC:
                delays = self._chaos.deliveries()
                self.counts["lost"] += not delays
                self.counts["doubled"] += len(delays) > 1
            for delay in delays:
                if delay > 0:
                    entry = (self._clock() + delay, next(self._order), event, account, region, bus)
                    heapq.heappush(self._held, entry)
                else:
                    self._route(event, account, region, bus, forwarded=False)
            moto_calls.CHANGED.notify_all()

    def set_chaos(self, settings: Settings | None) -> None:
        """Deliver with these settings from now on. None: without chaos, and delayed events at once; lost ones stay
        lost."""
        with moto_calls.CHANGED:
            self._chaos = Chaos(settings) if settings else None
            if settings is None:
                held, self._held = sorted(self._held, key=lambda entry: entry[:2]), []
                for _, _, event, account, region, bus in held:
                    self._route(event, account, region, bus, forwarded=False)
            moto_calls.CHANGED.notify_all()

    @property
    def chaos(self) -> Settings | None:
        """The current settings; None: no chaos."""
        return self._chaos.settings if self._chaos else None

    def pending(self) -> int:
        """The number of events that are neither delivered nor lost yet."""
        with moto_calls.LOCK:  # between two deliveries, not within one
            return len(self._held) + self._delivering

    def put_events(self, entries: list[Json], account: str, region: str) -> Json:
        """The API's PutEvents."""
        results, failed = [], 0
        for entry in entries:
            problem = _wrong_with(entry)
            if problem is None:
                bus, bus_account, bus_region = self._bus_of(entry.get("EventBusName", "default"), account, region)
                event = {
                    "version": "0",
                    "id": str(uuid.uuid4()),
                    "detail-type": entry["DetailType"],
                    "source": entry["Source"],
                    "account": account,
                    "time": _time_of(entry),
                    "region": region,
                    "resources": entry.get("Resources", []),
                    "detail": json.loads(entry["Detail"]),
                }
                self.emit(event, bus_account, bus_region, bus)
                results.append({"EventId": event["id"]})
            else:
                failed += 1
                results.append({"ErrorCode": problem[0], "ErrorMessage": problem[1]})
        return {"FailedEntryCount": failed, "Entries": results}

    def shut_to(self, entries: list[Json], account: str, region: str, caller: str) -> str | None:
        """The ARN of a bus of another account that does not accept one of these entries from the caller (an ARN); None:
        all are accepted."""
        for entry in entries:
            name, owner, where = self._bus_of(entry.get("EventBusName", "default"), account, region)
            bus = events_backends[owner][where].event_buses.get(name)
            kind = (str(entry.get("Source")), str(entry.get("DetailType")))
            if owner != account and bus is not None and not _lets_in(bus, kind, account, caller, {}):
                return str(bus.arn)
        return None

    @staticmethod
    def _bus_of(name: str, account: str, region: str) -> tuple[str, str, str]:
        if name.startswith("arn:"):
            parts = name.split(":", 5)
            return parts[5].removeprefix("event-bus/"), parts[4], parts[3]
        return name, account, region

    def _route(self, event: Event, account: str, region: str, bus: str, *, forwarded: bool) -> None:
        """Deliver to the targets of every matching rule of the bus. The caller holds the lock."""
        found = events_backends[account][region].event_buses.get(bus)
        rules = list(found.rules.values()) if found else []
        matched = False
        for rule in rules:
            if not _matches(rule, event):
                continue
            matched = True
            for target in rule.targets:
                self._deliver(rule, target, event, forwarded=forwarded)
        self.counts["unmatched"] += not matched

    def _deliver(self, rule: Rule, target: Json, event: Event, *, forwarded: bool) -> None:
        arn = target["Arn"]
        service = arn.split(":")[2]
        try:
            if service == "events":
                if forwarded:
                    return  # EventBridge forwards an event only once
                self._forward(rule, target, event)
            elif service == "sqs":
                send(arn, input_of(target, event), rule)
            elif service == "lambda":
                self._invoke(arn, input_of(target, event))
            else:
                raise Undeliverable("NOT_SERVED_LOCALLY", f"the local bus has no target of {service}")
            self.counts["forwarded" if service == "events" else "delivered"] += 1
        except Undeliverable as failure:
            self._dead_letter(rule, target, event, failure)
        except Exception as failure:  # one target's fault affects neither the other targets nor the sender
            log.exception("rule %s: %s", rule.name, arn)
            self._dead_letter(rule, target, event, Undeliverable("INTERNAL_ERROR", repr(failure)))

    def _forward(self, rule: Rule, target: Json, event: Event) -> None:
        arn, role = target["Arn"], target.get("RoleArn")
        if role and not self._role_may(role, "events:PutEvents", arn):
            raise Undeliverable("NO_PERMISSIONS", f"{role} may not put events on {arn}.")
        _, _, _, region, account, name = arn.split(":", 5)
        bus = events_backends[account][region].event_buses.get(name.removeprefix("event-bus/"))
        if bus is None:
            raise Undeliverable("RESOURCE_NOT_FOUND", f"Event bus {arn} does not exist.")
        by = {"aws:SourceAccount": rule.account_id, "aws:SourceArn": rule.arn}
        kind = (event["source"], event["detail-type"])
        if account != rule.account_id and not _lets_in(bus, kind, rule.account_id, rule.role_arn or "", by):
            raise Undeliverable("NO_PERMISSIONS", f"The policy of {arn} does not let {rule.account_id} put this event.")
        self._route(event, account, region, bus.name, forwarded=True)

    def _dead_letter(self, rule: Rule, target: Json, event: Event, failure: Undeliverable) -> None:
        letters = (target.get("DeadLetterConfig") or {}).get("Arn")
        log.warning("rule %s: %s not delivered to %s: %s", rule.name, event["id"], target["Arn"], failure.message)
        if letters:
            attributes = {
                "RULE_ARN": rule.arn,
                "TARGET_ARN": target["Arn"],
                "ERROR_CODE": failure.code,
                "ERROR_MESSAGE": failure.message,
            }
            try:
                send(letters, json.dumps(event), rule, attributes)
            except Exception as second:
                log.warning("rule %s: not delivered to %s either: %s", rule.name, letters, second)
            else:
                self.counts["failed"] += 1
                return
        self.counts["dropped"] += 1

    def _deliver_held(self) -> None:
        with moto_calls.CHANGED:
            while not self._stopped:
                now = self._clock()
                while self._held and self._held[0][0] <= now:
                    _, _, event, account, region, bus = heapq.heappop(self._held)
                    self._route(event, account, region, bus, forwarded=False)
                    moto_calls.CHANGED.notify_all()
                moto_calls.CHANGED.wait(self._held[0][0] - now if self._held else None)


def _matches(rule: Rule, event: Event) -> bool:
    """Whether the rule is enabled and its pattern matches. A pattern that moto can't evaluate matches nothing."""
    if rule.state != "ENABLED" or rule.event_pattern.dump() is None:
        return False
    try:
        return bool(rule.event_pattern.matches_event(event))
    except Exception:
        log.exception("rule %s: its pattern can't be evaluated", rule.name)
        return False


def _lets_in(bus: EventBus, kind: tuple[str, str], account: str, caller: str, context: dict[str, str]) -> bool:
    """Whether the bus's policy lets another account put an event of this source and detail-type."""
    keys = {"events:source": kind[0], "events:detail-type": kind[1], "aws:PrincipalAccount": account}
    return allows(
        statements(bus.policy),
        action="events:PutEvents",
        resource=bus.arn,
        account=account,
        arn=caller,
        context={**keys, **context},
    )


def _wrong_with(entry: Json) -> tuple[str, str] | None:
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            return "InvalidArgument", f"Parameter {name} is not valid. Reason: {name} is a required argument."
    if entry["Source"].startswith("aws."):
        return "NotAuthorizedForSourceException", "Not authorized for the source."
    try:
        detail = json.loads(entry["Detail"])
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        return "MalformedDetail", "Detail is malformed."
    if len(entry["Detail"].encode()) > MAX_ENTRY:
        return "InvalidArgument", "Total size of the entries in the request is over the limit."
    return None


def _time_of(entry: Json) -> str:
    """The entry's time in RFC 3339: now, where the entry has none."""
    given = entry.get("Time")
    if isinstance(given, str) and given:
        return given
    return format_time(second_of(datetime.fromtimestamp(given, UTC) if given else datetime.now(UTC)))
