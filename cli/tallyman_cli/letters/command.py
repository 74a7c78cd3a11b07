"""`tallyman letters`: lists messages that could not be handled and why, sends them again, or discards them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated
from uuid import uuid4

import typer

from tallyman.domain.events.commands import MOST_LETTERS
from tallyman.domain.events.letters import BOXES, Letter
from tallyman.domain.history.details.letters import LetterAnswer
from tallyman.domain.history.facts import Kind
from tallyman.errors import BadInput
from tallyman_cli.letters import reading
from tallyman_cli.shared import asking, context, options, output
from tallyman_cli.shared.options import argument, option
from tallyman_cli.shared.waiting import wait_for

app = typer.Typer(help="Read, replay or discard the dead letters of the stack's queues.", no_args_is_help=True)

Queue = Annotated[
    str | None, option("--queue QUEUE", f"Only letters of this queue: {', '.join(BOXES)}.", default="all")
]
Reason = Annotated[
    str | None, option("--reason TEXT", "Only letters whose reason or error contains this text.", default="any")
]
Ids = Annotated[list[str] | None, argument("LETTER", "Ids of letters, or their first characters.")]


@app.command("list")
@options.on_stack
def list_(queue: Queue = None, reason: Reason = None) -> None:
    """List dead letters.

    These are messages that no function could handle, and events that did not reach a queue. Letters are kept for 14
    days. Reading hides them from other readers for a moment.

    Exit status: 0 listed, even if there are none.
    """
    found = reading.letters(context.connect(), queue, reason)
    if output.is_json():
        output.data([reading.as_json(letter) for letter in found])
        return
    output.table(
        {
            "letter": each.id,
            "queue": each.queue,
            "at": output.when(each.sent),
            "error": each.error,
            "reason": reading.why(each),
        }
        for each in found
    )
    if not found:
        output.say("there are no dead letters")


@app.command("show")
@options.on_stack
def show(
    letter: Annotated[str, argument("LETTER", "The id of the letter, or its first characters.")],
) -> None:
    """Show one dead letter with its body.

    A person's command is shown with the command line that repeats it, because commands are accepted from their sender
    only.

    Exit status: 0 shown; 2 there is no such letter.
    """
    (found,) = reading.named(reading.letters(context.connect(), None, None), [letter])
    if output.is_json():
        output.data({**reading.as_json(found), "body": found.body})
        return
    for name, value in (*reading.as_json(found).items(), ("body", found.body)):
        if value is not None:
            output.line(f"{name}: {value}")


@app.command("replay")
@options.on_stack
def replay(
    letters: Ids = None,
    queue: Queue = None,
    reason: Reason = None,
    because: asking.Because = "",
    timeout: options.Timeout = 60,
) -> None:
    """Send dead letters to their queue again.

    Choose them by id, --queue or --reason. Handling a message twice does no harm. A person's command is not sent; the
    command line that repeats it is shown.

    Exit status: 0 all were sent; 1 at least one was not; 2 bad input.
    """
    _move("replay", letters, queue, reason, because, timeout)


@app.command("discard")
@options.on_stack
def discard(
    because: asking.Because,
    letters: Ids = None,
    queue: Queue = None,
    reason: Reason = None,
    timeout: options.Timeout = 60,
) -> None:
    """Remove dead letters.

    Choose them by id, --queue or --reason. Their bodies stay in the archive; the ledger records who removed them and
    why.

    Exit status: 0 all were removed; 1 at least one was not; 2 bad input.
    """
    _move("discard", letters, queue, reason, because, timeout)


def _move(
    command: str,
    ids: list[str] | None,
    queue: str | None,
    reason: str | None,
    because: str,
    timeout: float,
) -> None:
    if not ids and queue is None and reason is None:
        raise BadInput(f"which letters? give their ids, --queue or --reason: tallyman letters {command} --help")
    opened = context.connect()
    found = reading.letters(opened, queue, reason)
    chosen = reading.named(found, ids) if ids else found
    rows, sent = [], defaultdict(list)
    for letter in chosen:
        if command == "replay" and letter.command is not None:
            line = reading.again(letter.command)
            how = f"send it again: {line}" if line else "it holds no command that is known"
            rows.append({**reading.as_json(letter), "done": False, "refused": f"a person's command; {how}"})
        else:
            sent[letter.queue].append(letter)
    for name, some in sent.items():
        for start in range(0, len(some), MOST_LETTERS):
            part = some[start : start + MOST_LETTERS]
            answers = _ask(opened, command, name, part, because, timeout)
            rows += [
                {**reading.as_json(each), "done": answers[each.id] is None, "refused": answers[each.id]}
                for each in part
            ]
    if output.is_json():
        output.data(rows)
    else:
        for row in rows:
            done = f"sent to {row['source']} again" if command == "replay" else "discarded"
            output.line(f"{row['letter']}: {done if row['done'] else row['refused']}")
    if not rows:
        output.say("there are no such letters")
    if not all(row["done"] for row in rows):
        raise typer.Exit(1)


def _ask(
    opened: context.Stack, command: str, queue: str, letters: Sequence[Letter], because: str, timeout: float
) -> dict[str, str | None]:
    """Send the command for these letters of one queue, and wait. Return by id why a letter was not moved; None: it
    was."""
    request, ids = str(uuid4()), [letter.id for letter in letters]
    body = {"command": command, "request": request, "queue": queue, "letters": " ".join(ids)}
    opened.hints.send("commands", asking.checked(body | ({"because": because} if because else {})))

    def answers() -> dict[str, str | None] | None:
        refusals: dict[str, str | None] = {}
        facts = (f for f in opened.ledger.of_environment("*") if f.kind in (Kind.LETTER, Kind.REQUESTED))
        for answer in LetterAnswer.of(facts):
            if answer.request != request:
                continue
            if answer.letter is None:
                return dict.fromkeys(ids, f"refused: {answer.refused}")  # the sender has no right to
            refusals[answer.letter] = answer.refused
        return refusals if refusals.keys() >= set(ids) else None

    return wait_for(opened, answers, timeout) or dict.fromkeys(ids, asking.LOST.format(timeout=timeout))
