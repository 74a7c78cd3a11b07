"""The gate `soak`: the image has been in the source environment long enough."""

from datetime import timedelta

from tallyman.domain.gates.case import PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.policy import format_duration
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import Duration
from tallyman.domain.times import format_time
from tallyman.values import value


@value
class SoakGate(GateConfig):
    """Requires the digest to have been in the source environment for `duration`."""

    duration: timedelta

    def __str__(self) -> str:
        return f"soak {format_duration(self.duration)}"


def judge(config: SoakGate, case: Case) -> GateResult:
    """Waiting until `duration` after the digest's first push to the source environment, the result's `until`."""
    pushes = [f.at for f in case.image.facts if f.kind in PUSHES and f.repository in case.source_repositories]
    length = format_duration(config.duration)
    if not pushes:
        return GateResult("soak", WAITING, f"its push to {case.source.name} is not known", {"soak": length})
    since = min(pushes)
    until = since + config.duration
    facts = {"soak": length, "since": format_time(since), "until": format_time(until)}
    if case.now >= until:
        return GateResult("soak", PASSED, f"in {case.source.name} since {format_time(since)}", facts)
    reason = f"it has to stay in {case.source.name} for {length}, until {format_time(until)}"
    return GateResult("soak", WAITING, reason, facts, until, held=True)


GATE: Gate = Gate(Duration(SoakGate), "How long the image must stay in the source environment, such as 24h.", judge)
