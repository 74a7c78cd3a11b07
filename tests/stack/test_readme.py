"""The terminal sessions of README.md and README.pt-BR.md run unchanged, and print what the pages show."""

import pytest
from tools import session

from support.stacks.templates import ROOT


@pytest.mark.parametrize("page", session.PAGES)
def test_the_session_shows_the_output_of_a_local_cloud(page: str) -> None:
    shown = (ROOT / page).read_text("utf-8")
    typed = session.commands(page)
    printed = session.outputs(typed)
    assert any("is promoted to prod" in each for each in printed)
    made = session.with_outputs(shown, printed)
    assert session.same_every_time(made) == session.same_every_time(shown), f"{page} is not current: make session"


def test_a_different_output_is_detected() -> None:
    shown = (ROOT / "README.md").read_text("utf-8")
    count = len(session.commands("README.md")) - 1
    made = session.with_outputs(shown, ["something else"] * count)
    assert session.same_every_time(made) != session.same_every_time(shown)
    assert made.count("something else") == count
