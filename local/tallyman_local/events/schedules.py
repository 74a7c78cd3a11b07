"""EventBridge's schedules: rules with `rate(…)` or `cron(…)` whose targets are functions or queues, on the real
clock."""

import datetime as dt
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable

from moto.events.models import Rule, events_backends

from tallyman.domain.times import format_time
from tallyman_local.events.targets import Undeliverable, send
from tallyman_local.moto import calls as moto_calls

log = logging.getLogger("tallyman.local")

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
_UNITS = {"minute": 60, "hour": 3600, "day": 86400}
_MONTHS = {
    name: n
    for n, name in enumerate(["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1)
}
_DAYS = {name: n for n, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], 1)}


def is_due(expression: str, minute: int) -> bool:
    """Whether a schedule fires in this minute (whole minutes since the epoch). Raises ValueError, KeyError
    or ZeroDivisionError for an expression that is invalid or not supported: in `cron`, `L`, `W` and `#` are not.
    """
    if rate := _RATE.fullmatch(expression):
        return minute * 60 % (int(rate[1]) * _UNITS[rate[2]]) == 0
    cron = _CRON.fullmatch(expression)
    if not cron:
        raise ValueError(f"{expression}: expected rate(15 minutes) or a cron expression of six fields")
    at = dt.datetime.fromtimestamp(minute * 60, dt.UTC)
    fields = [
        (cron[1], at.minute, {}),
        (cron[2], at.hour, {}),
        (cron[3], at.day, {}),
        (cron[4], at.month, _MONTHS),
        (cron[5], at.isoweekday() % 7 + 1, _DAYS),
        (cron[6], at.year, {}),
    ]
    return all(_matches(pattern, value, names) for pattern, value, names in fields)


def _matches(pattern: str, value: int, names: dict[str, int]) -> bool:
    def number(text: str) -> int:
        return names[text.upper()] if text.upper() in names else int(text)

    for part in pattern.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            low, high = 0, 9999
        elif "-" in span:
            low, high = (number(end) for end in span.split("-", 1))
        else:
            low = number(span)
            high = 9999 if step else low
        if low <= value <= high and (value - low) % int(step or 1) == 0:
            return True
    return False


class Schedules:
    """Fires the schedules of one account and region, once a minute. `invoke(function_arn, payload)`."""

    def __init__(self, account: str, region: str, invoke: Callable[[str, str], None]) -> None:
        self._account, self._region, self._invoke = account, region, invoke
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)

    def start(self) -> None:
        """Start with the next whole minute."""
        self._thread.start()

    def stop(self) -> None:
        """Stop firing."""
        self._stop.set()

    def fire(self, minute: int) -> int:
        """Fire the rules that are due in this minute. Return the number of invocations and messages."""
        fired = 0
        for bus in events_backends[self._account][self._region].event_buses.values():
            for rule in list(bus.rules.values()):
                if not rule.scheduled_expression or rule.state != "ENABLED":
                    continue
                try:
                    due = is_due(rule.scheduled_expression, minute)
                except (ValueError, KeyError, ZeroDivisionError) as error:
                    log.warning("rule %s does not fire: %s", rule.name, error)
                    continue
                for target in rule.targets if due else []:
                    body = target.get("Input") or json.dumps(self._event(rule, minute))
                    if ":sqs:" in target["Arn"]:
                        self._send(target["Arn"], body, rule)
                    else:
                        self._invoke(target["Arn"], body)
                    fired += 1
        return fired

    def _send(self, arn: str, body: str, rule: Rule) -> None:
        with moto_calls.CHANGED:
            try:
                send(arn, body, rule)
            except Undeliverable as failure:
                log.warning("rule %s: %s", rule.name, failure)
            moto_calls.CHANGED.notify_all()

    def _event(self, rule: Rule, minute: int) -> dict[str, object]:
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": self._account,
            "time": format_time(dt.datetime.fromtimestamp(minute * 60, dt.UTC)),
            "region": self._region,
            "resources": [rule.arn],
            "detail": {},
        }

    def _run(self) -> None:
        last = int(time.time()) // 60
        while not self._stop.wait(1):
            minute = int(time.time()) // 60
            if minute != last:
                last = minute
                self.fire(minute)
