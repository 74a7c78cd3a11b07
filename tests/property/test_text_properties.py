"""Text from outside reaches terminals, notices and logs only as printable characters."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.text import Text

from tallyman.adapters.aws.notices import SnsNotices
from tallyman.domain.text import LINES, visible
from tallyman.ports.reactions import Outcome
from tallyman_cli.shared import output

HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x1b\x9b\x07\x08\r\x7f\x00\u202e\u2066\u200f\u2028\ufeff\U000e0041[]31mA;"),
    ),
    max_size=60,
)
CLEAR = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe"


class Terminal(io.StringIO):
    """Stdout as a terminal without styles."""

    def isatty(self) -> bool:
        return True


@contextmanager
def written(terminal: bool = False) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = Terminal() if terminal else io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        yield out, err


def harmless(text: str) -> bool:
    """Whether the text has only printable characters, blanks and line breaks."""
    return all(c == "\n" or c == "\t" or c.isprintable() or c.isspace() for c in text) and not set(text) & set(
        "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
    )


@given(HOSTILE)
@example(CLEAR)
def test_escaped_text_is_printable_and_printable_text_stays(text: str) -> None:
    assert harmless(visible(text, LINES))
    assert "\n" not in visible(text)
    assert visible(visible(text)) == visible(text)
    if text.isprintable():
        assert visible(text) == text


@given(HOSTILE, HOSTILE)
@example(CLEAR, CLEAR)
def test_every_output_of_a_command_is_escaped(text: str, other: str) -> None:
    with written() as (out, err):
        output.line(text)
        output.put(text)
        output.say(text)
        output.trouble(text)
        output.table([{"tag": text, "reason": other}, {"tag": Text(other, style="red"), "reason": text}])
        output.data({"annotations": {text: other}, "author": [text]})
    assert harmless(out.getvalue())
    assert harmless(err.getvalue())


@given(HOSTILE)
@example(CLEAR)
def test_escaped_json_has_the_same_values(text: str) -> None:
    with written() as (out, _):
        output.data({"author": text})
    assert json.loads(out.getvalue()) == {"author": text}


@given(HOSTILE)
@example(CLEAR)
def test_a_table_on_a_terminal_contains_no_control_sequence_from_text(text: str) -> None:
    with written(terminal=True) as (out, _):
        output.table([{"tag": text, "reason": "x"}])
        output.line(text)
    # rich's own styles are the only sequences: bold and its end
    assert harmless(out.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", ""))


@given(HOSTILE, HOSTILE)
@example(CLEAR, CLEAR)
def test_a_notice_is_escaped(subject: str, text: str) -> None:
    sent: dict[str, Any] = {}

    class Topic:
        def publish(self, **given: Any) -> None:
            sent.update(given)

    SnsNotices(Topic(), "arn").publish(subject, text, {"kind": "test"})
    assert harmless(sent["Subject"])
    assert harmless(sent["Message"])


@pytest.mark.parametrize("text", ["plain", "ünïcödé ✓ 🐳", "a\u00a0b"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text
    assert sys.stdout is not None


@given(HOSTILE)
@example(CLEAR)
def test_the_log_line_of_an_outcome_is_escaped(text: str) -> None:
    assert harmless(Outcome.handled(text).shown)
