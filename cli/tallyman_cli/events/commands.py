"""The messages that the `tallyman` command sends to the commands queue, one of each command."""

from tallyman.domain.events.commands import COMMANDS
from tallyman_cli.events.parts import Json, Subject, uid

_BECAUSE = {
    "approve": "tested on the staging shop",
    "deny": "the invoice page is broken",
    "override": "the fix can't wait for the soak to end",
    "check": "https://ci.example.com/runs/42",
    "recall": "it leaks customers' addresses",
    "freeze": "stocktaking",
    "thaw": "stocktaking is over",
    "roll-back": "orders fail since 14:00",
    "replay": "the policy is mended",
    "discard": "sent by hand, no event",
}


def commands(about: Subject) -> dict[str, Json]:
    """The message of each command, by its name."""
    return {name: {"command": name, "request": uid(f"request {name}"), **_asked(about, name)} for name in COMMANDS}


def _asked(about: Subject, name: str) -> Json:
    because = {"because": _BECAUSE[name]} if name in _BECAUSE else {}
    if name in ("freeze", "thaw"):
        return {"environment": "prod", "repository": about.name, **because}
    if name in ("replay", "discard"):
        return {"queue": "push", "letters": "5fea7756-0ea4-5dfb-9e76-2c1b3d6c9f41", **because}
    if name == "recall":
        return {"digest": about.index, **because}
    if name == "roll-back":
        return {"digest": about.index, "repository": about.name, "environment": "prod", **because}
    if name == "check":
        where = {"repository": about.name, "environment": "dev"}
        return {"digest": about.index, **where, "check": "e2e", "result": "passed", **because}
    gate = {"gate": "soak"} if name == "override" else {}
    return {"digest": about.index, "repository": about.name, "from": "dev", "to": "prod", **gate, **because}
