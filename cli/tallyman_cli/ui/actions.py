"""The buttons of the page: each asks for confirmation, and then runs a `tallyman` command as a person would."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from tallyman.domain.names import Digest, ImageName
from tallyman.errors import BadInput, TallymanError
from tallyman_cli.ui.desk import Outcome

LONGEST = 180
"""Seconds after which the page stops waiting for a command."""


@dataclass(frozen=True, slots=True)
class Action:
    """`line`: the command, with the fields that the form has to give in braces; `because`: it asks for a reason;
    `says`: what it does; `grave`: it can't be undone."""

    title: str
    line: str
    because: bool
    says: str
    grave: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.line) if name)


ACTIONS: Mapping[str, Action] = {
    "approve": Action(
        "Approve", "approve {image} --to {to}", True, "Your approval of this digest is recorded permanently."
    ),
    "deny": Action("Deny", "deny {image} --to {to}", True, "Its gate stays failed until enough people approve again."),
    "promote": Action(
        "Promote", "promote {image} --to {to}", False, "Every gate still holds; the promotion waits for them."
    ),
    "freeze": Action("Freeze", "freeze {place}", True, "Nothing is promoted there until somebody thaws it."),
    "thaw": Action("Thaw", "thaw {place}", True, "Promotions that waited for this freeze continue."),
    "roll-back": Action(
        "Roll back", "release roll-back {place}", True, "The release moves to what was good before; tags stay."
    ),
    "reconcile": Action(
        "Reconcile", "reconcile", False, "Compares every registry with the ledger, and records what is missing."
    ),
    "doctor": Action(
        "Doctor", "doctor", False, "Checks rules, queues, a round trip from every registry, and quotas; reconciles."
    ),
    "replay": Action(
        "Replay",
        "letters replay {letter}",
        False,
        "The message goes to its queue again. Handling a message twice does no harm.",
    ),
    "discard": Action(
        "Discard", "letters discard {letter}", True, "The letter is removed; its body stays in the archive."
    ),
    "recall": Action(
        "Recall", "recall {image}", True, "Every environment refuses this digest from now on.", grave=True
    ),
}


def arguments(command: str, given: Mapping[str, str]) -> list[str]:
    """The command line, without the program. Raises BadInput where a field is missing or not valid."""
    action = ACTIONS.get(command)
    if action is None:
        raise BadInput(f"'{command}' is not a command of this page: expected one of {', '.join(ACTIONS)}")
    values = {name: given.get(name, "").strip() for name in action.fields}
    for name, value in values.items():
        if not value or value.startswith("-"):
            raise BadInput(f"'{value}' is not a {name} to {command}")
    if "image" in values and ImageName.parse(values["image"]).digest is None and action.grave:
        raise BadInput("a recall takes a digest and can't be undone: name it as …@sha256:…")
    line = [word.format(**values) for word in action.line.split()]
    if action.because:
        because = given.get("because", "").strip()
        line += ["--because", because] if because else []
    return line


def check(command: str, given: Mapping[str, str]) -> None:
    """Raise BadInput unless the form confirms the action: with a reason where one is required; for what can't be
    undone, with the first digits of the digest."""
    action = ACTIONS[command]
    if action.because and not given.get("because", "").strip():
        raise BadInput("a reason is required; it is recorded permanently")
    if action.grave:
        digest = ImageName.parse(given["image"]).digest or Digest("")
        if given.get("typed", "").strip().lower() != digest.hex[:8]:
            raise BadInput(f"this can't be undone: type the digest's first eight digits, {digest.hex[:8]}, to go on")


def shown(line: Sequence[str]) -> str:
    """The command as a person would type it."""
    return shlex.join(["tallyman", *line])


def program_arguments(line: Sequence[str], stack: str, policy: str | None) -> list[str]:
    """What the program gets. Stack and policy stand before the command: not every command has options for them."""
    return ["--stack", stack, *(["--policy", policy] if policy else []), *line]


def runner(stack: str, policy: str | None) -> Callable[[Sequence[str]], Outcome]:
    """Make the function that runs a command in a process of its own, with this process' credentials."""

    def run(line: Sequence[str]) -> Outcome:
        command = [sys.executable, "-m", "tallyman_cli.start", *program_arguments(line, stack, policy)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            return Outcome(1, "", f"no outcome within {LONGEST} s: it may still come")
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


def perform(run: Callable[[Sequence[str]], Outcome], command: str, given: Mapping[str, str]) -> Outcome:
    """Run the command; an error in the form is an outcome too."""
    try:
        line = arguments(command, given)
        check(command, given)
    except TallymanError as error:
        return Outcome(2, "", str(error))
    return run(line)
