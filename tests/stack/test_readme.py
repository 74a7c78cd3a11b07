"""The terminal sessions of README.md and README.pt-BR.md run unchanged, and print what the pages show."""

from collections.abc import Mapping

import pytest
from tools import session

from support.stacks.templates import ROOT


@pytest.fixture(scope="module")
def printed() -> Mapping[str, str]:
    return session.outputs()


@pytest.mark.heavy
@pytest.mark.parametrize("page", session.PAGES)
def test_the_session_shows_the_output_of_a_local_cloud(page: str, printed: Mapping[str, str]) -> None:
    shown = (ROOT / page).read_text("utf-8")
    assert any("is promoted to prod" in printed[command] for command in session.commands(page))
    made = session.with_outputs(shown, printed)
    assert session.same_every_time(made) == session.same_every_time(shown), f"{page} is not current: make session"


@pytest.mark.parametrize("more", ["tallyman local settle", "tallyman pending"])
def test_a_session_that_one_typing_cannot_serve_is_an_error(monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    shown = {page: session.commands(page) for page in session.PAGES}
    shown["README.md"].append(more)
    monkeypatch.setattr(session, "commands", shown.__getitem__)
    with pytest.raises(ValueError, match=r"README\.md repeats a command, or has one that README\.pt-BR\.md lacks"):
        session.outputs()


def test_a_different_output_is_detected() -> None:
    shown = (ROOT / "README.md").read_text("utf-8")
    first, *inside = session.commands("README.md")
    made = session.with_outputs(shown, {first: ""} | dict.fromkeys(inside, "something else"))
    assert session.same_every_time(made) != session.same_every_time(shown)
    assert made.count("something else") == len(inside)
