"""The command line that repeats a person's command which became a dead letter."""

import shlex
from collections.abc import Mapping


def again(command: Mapping[str, object]) -> str | None:
    """The command line that repeats the command; None: it is no known command."""

    def of(key: str) -> str:
        return str(command.get(key) or "")

    name = of("command")
    image = f"{of('from')}/{of('repository')}@{of('digest')}"
    place = of("environment") + (f"/{of('repository')}" if command.get("repository") else "")
    words = {
        "promote": ["promote", image, "--to", of("to")],
        "approve": ["approve", image, "--to", of("to")],
        "deny": ["deny", image, "--to", of("to")],
        "override": ["promote", image, "--to", of("to"), "--override", of("gate")],
        "check": ["check", "post", f"{place}@{of('digest')}", of("check"), f"--{of('result')}"],
        "recall": ["recall", f"ENVIRONMENT/REPOSITORY@{of('digest')}"],
        "freeze": ["freeze", place],
        "thaw": ["thaw", place],
        "roll-back": ["release", "roll-back", place, "--to", of("digest")],
        "replay": ["letters", "replay", *of("letters").split()],
        "discard": ["letters", "discard", *of("letters").split()],
    }.get(name)
    if words is None:
        return None
    because = ["--because", of("because")] if command.get("because") else []
    return " ".join(["tallyman", *(shlex.quote(word) for word in [*words, *because])])
