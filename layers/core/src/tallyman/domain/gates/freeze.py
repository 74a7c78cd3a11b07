"""The gate `freeze`, which every promotion has: nothing is promoted to a frozen environment or repository."""

from tallyman.domain.gates.case import PASSED, WAITING, Case, GateResult
from tallyman.domain.plain import plain
from tallyman.domain.times import format_time

NAME = "freeze"


def judge(case: Case) -> GateResult:
    """Waiting until a person thaws the environment; also where it is not known whether it is frozen."""
    name = case.destination.name
    freezes = case.image.freezes.get(name)
    if freezes is None:
        return GateResult(NAME, WAITING, f"it is not known whether {name} is frozen")
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
    facts = [plain(freeze) for freeze in mine]
    return GateResult(NAME, WAITING, "; ".join(said), {"freezes": facts}, held=True)
