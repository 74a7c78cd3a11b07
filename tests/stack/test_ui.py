"""The page of a local cloud: the deployed stack, real tables, and a button that runs the real command."""

import json
from collections.abc import Iterator

import pytest
from werkzeug.test import Client

from support.images import builders as b
from support.stacks.deployed import Deployed, deployed
from tallyman_cli.ui.actions import runner
from tallyman_cli.ui.app import Application
from tallyman_cli.ui.desk import Desk

NAME = "rocketseat/shown"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), scanner="clean") as running:
        yield running


def test_the_page_shows_a_new_push_and_a_button_runs_its_command(
    system: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in system.cloud.environment().items():
        monkeypatch.setenv(name, value)
    seconds = iter(range(0, 1000, 2))
    application = Application(Desk(system.stack, system.cloud.stack, run=runner(system.cloud.stack, None)), None)
    application.pulse._monotonic = lambda: float(next(seconds))
    browser = Client(application)
    number = application.pulse.look()
    image = b.multi_arch("shown")
    system.push(image, NAME, "v1.0.0")
    assert browser.get(f"/pulse?number={number}").status_code == 200
    board = json.loads(browser.get(f"/board.json?q={NAME}").text)
    dev, prod = board["rows"][0]["cells"]
    assert (dev["card"]["kind"], dev["card"]["tags"]) == ("pushed", ["v1.0.0"])
    assert (prod["card"]["digest"], prod["card"]["registries"]) == (image.digest, {"have": 2, "of": 2})
    for address in (f"/repository/dev/{NAME}", f"/image/prod/{NAME}/{image.digest}", "/health", "/retention"):
        assert browser.get(address).status_code == 200, address
    uses = browser.get(f"/image/prod/{NAME}/{image.digest}/uses")
    assert "Nothing that could be asked runs it" in uses.text
    done = browser.post("/do/freeze", data={"place": f"prod/{NAME}", "because": "a test"})
    assert done.status_code == 200, done.text
    cells = json.loads(browser.get(f"/board.json?q={NAME}").text)["rows"][0]["cells"]
    assert cells[1]["frozen"]["because"] == "a test"
