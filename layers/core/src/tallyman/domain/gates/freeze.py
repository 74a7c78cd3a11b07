"""The gate `freeze`, which is always asked: nothing goes into an environment, or a repository of it, that is frozen."""

from tallyman.domain.gates.case import PASSED, WAITING, Case, GateResult
from tallyman.domain.times import format_time

NAME = "freeze"


def judge(case: Case) -> GateResult:
    """Waits for a person to thaw it. Whether there is a freeze must be known: not asked is not free."""
    name = case.destination.name
    freezes = case.image.freezes.get(name)
    if freezes is None:
        return GateResult(NAME, WAITING, f"whether {name} is frozen is not known")
    mine = sorted(
        (f for f in freezes if f.repository in (None, case.repository)), key=lambda f: (f.at, f.repository or "")
    )
    if not mine:
        return GateResult(NAME, PASSED, f"{name} is not frozen")
    said = [
        f"{name if f.repository is None else f'{name}/{f.repository}'} is frozen since {format_time(f.at)} "
        f"by {f.by}: {f.because}"
        for f in mine
    ]
    facts = [{"repository": f.repository, "at": format_time(f.at), "by": f.by, "because": f.because} for f in mine]
    return GateResult(NAME, WAITING, "; ".join(said), {"freezes": facts}, held=True)
