"""`tallyman demo`: how it ends. Its output is tested with a cloud (tests/stack/test_wheel.py)."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallyman_cli.local import demo

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.usefixtures("handlers")
def test_an_interrupted_demo_leaves_no_folder(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def run(folder: Path, ui: bool) -> float:
        folders.append(folder)
        os.kill(os.getpid(), number)
        raise AssertionError("it goes on")

    monkeypatch.setattr(demo, "_run", run)
    with pytest.raises(SystemExit) as ended:
        demo.demo(ui=True)
    assert ended.value.code == 128 + number
    assert not folders[0].exists()


@pytest.mark.usefixtures("handlers")
def test_the_printed_duration_is_that_of_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_run", lambda folder, ui: 61.4)
    demo.demo(ui=True)
    assert "Every step succeeded, in 61 s." in capsys.readouterr().out
