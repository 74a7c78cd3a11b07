"""Sends dead letters to their queues again, or removes them, at a person's request; each letter is recorded."""

from dataclasses import replace
from datetime import datetime
from itertools import takewhile

from tallyman.domain.events.commands import Command
from tallyman.domain.events.letters import Letter
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.letters import LetterAnswer
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.times import whole_millis
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Letters
from tallyman.ports.reactions import Outcome
from tallyman.ports.records import Archive, Ledger
from tallyman.values import value

FOLDER = "letters"
"""The folder of the archive with the bodies of moved letters."""


@value
class MoveLetters:
    """Carries out the commands `replay` and `discard`, whose sender was checked.

    A letter is removed from its queue last, after its body was archived, it was sent again, and its fact was written. A
    crash in between repeats these steps; what a letter starts may be repeated.
    """

    letters: Letters
    ledger: Ledger
    archive: Archive
    clock: Clock

    def handle(self, command: Command, sender: str, principal: str | None, sent: datetime) -> Outcome:
        """Move the letters that the command names; one that can't be moved is recorded with the reason.

        Cost: a call for ten letters of the queue until all are found; an object, a message, a write and a removal each.
        """
        assert command.queue is not None  # of every command about letters
        wanted, done, moved = set(command.letters), self._done(command.request, sent), 0
        with self.letters.opened(command.queue) as found:
            for letter in found:
                if letter.id not in wanted:
                    continue
                wanted.discard(letter.id)
                if letter.id in done:
                    self.letters.remove(letter)
                else:
                    moved += self._move(command, letter, sender, principal, sent)
                if not wanted:
                    break
        for name in sorted(wanted - done):
            why = "it is not there any more, or somebody else is reading it: ask again in a minute"
            self._write(command, sender, sent, LetterAnswer(principal=principal, refused=why, letter=name))
        return Outcome.handled(f"{command.name} of {moved} letters recorded, of {len(command.letters)} asked for")

    def _move(self, command: Command, letter: Letter, sender: str, principal: str | None, sent: datetime) -> bool:
        again, refused = command.name == "replay", None
        if again and letter.command is not None:
            refused = (
                "it is a person's command, which is checked by who sends it: `tallyman letters show` says how to send "
                "it again"
            )
        elif again and letter.source is None:
            refused = "nothing says which queue it came from"
        answer = LetterAnswer(
            principal=principal,
            refused=refused,
            letter=letter.id,
            came_from=letter.source,
            reason=letter.reason,
            error=letter.error,
        )
        if refused:
            self._write(command, sender, sent, answer)
            return False
        answer = replace(answer, body=self.archive.put(FOLDER, letter.body.encode()))
        if again:
            self.letters.send_again(letter)
        self._write(command, sender, sent, answer)
        self.letters.remove(letter)
        return True

    def _write(self, command: Command, sender: str, sent: datetime, answer: LetterAnswer) -> None:
        """Record a moved letter; a refused one is recorded as a request that was not granted."""
        kind = Kind.REQUESTED if answer.refused else Kind.LETTER
        asked = replace(
            answer, command=command.name, request=command.request, because=command.because, queue=command.queue
        )
        key = (command.request, sender, answer.letter)
        self.ledger.append(new_fact(kind, key, asked, self.clock(), at=sent, via=Via.PERSON, actor=sender))

    def _done(self, request: str, sent: datetime) -> set[str]:
        """The letters that an earlier try of the same command recorded; it may have died before it removed them."""
        at = whole_millis(sent)
        since = takewhile(lambda fact: fact.at >= at, self.ledger.of_environment("*"))
        answers = LetterAnswer.of(fact for fact in since if fact.kind is Kind.LETTER)
        return {each.letter for each in answers if each.letter and each.request == request}
