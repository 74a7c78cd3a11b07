"""The messages that the `tallyman` command sends to the commands queue, one of each command."""

from tallyman.domain.events.commands import COMMANDS
from tallyman_cli.events.parts import Json, Subject, uid


def commands(about: Subject) -> dict[str, Json]:
    """The message of each command, by its name."""
    asked = _asked(about)
    return {name: {"command": name, "request": uid(f"request {name}"), **asked[name]} for name in COMMANDS}


def _asked(about: Subject) -> dict[str, Json]:
    """What each command says besides its name and request."""
    candidate = {"digest": about.index, "repository": about.name, "from": "dev", "to": "prod"}
    place = {"environment": "prod", "repository": about.name}
    check = {"environment": "dev", "check": "e2e", "result": "passed", "because": "https://ci.example.com/runs/42"}
    letters = {"queue": "push", "letters": "5fea7756-0ea4-5dfb-9e76-2c1b3d6c9f41"}
    return {
        "promote": candidate,
        "approve": {**candidate, "because": "tested on the staging shop"},
        "deny": {**candidate, "because": "the invoice page is broken"},
        "override": {**candidate, "gate": "soak", "because": "the fix can't wait for the soak to end"},
        "check": {"digest": about.index, "repository": about.name, **check},
        "recall": {"digest": about.index, "because": "it leaks customers' addresses"},
        "freeze": {**place, "because": "stocktaking"},
        "thaw": {**place, "because": "stocktaking is over"},
        "roll-back": {
            "digest": about.index,
            "repository": about.name,
            "environment": "prod",
            "because": "orders fail since 14:00",
        },
        "replay": {**letters, "because": "the policy is mended"},
        "discard": {**letters, "because": "sent by hand, no event"},
    }
