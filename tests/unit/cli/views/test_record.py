"""Commands and pages read the ledger by the same rules: recalls beneath an image, scans, decisions."""

from dataclasses import replace

import pytest

from support.fakes.cli_stack import FakeStack
from support.images.builders import DEV, multi_arch
from tallyman.adapters.files.prices import load as load_prices
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.images.details import ScanReport
from tallyman.domain.names import Repository
from tallyman_cli.shared import addresses
from tallyman_cli.views import contents, repository
from tallyman_cli.views import image as image_view
from tallyman_cli.views.record import worst
from tallyman_cli.views.shown import ImageView

NAME = "rocketseat/widget-server"
PLACE = f"dev/{NAME}"


def test_an_image_with_a_recalled_platform_is_recalled_on_every_page_and_list(everywhere: FakeStack) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    everywhere.scan(app)
    everywhere.work()
    child = app.root.platform_children[0].digest
    assert everywhere.run("recall", f"{PLACE}@{child}", "--because", "bad").exit_code == 0
    (listed,) = everywhere.json("release", "list", "prod")
    assert listed["recalled"]
    named = addresses.anywhere(everywhere.policy, PLACE)
    (shown,) = repository.repository(everywhere.stack, named)["images"]
    assert shown["recalled"]
    one = replace(named, digest=app.digest)
    assert image_view.image(everywhere.stack, one, app.digest, load_prices())["recalled"]


def test_a_platform_without_a_scan_does_not_hide_a_failed_one(everywhere: FakeStack) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    first = app.root.platform_children[0].digest
    everywhere.service("record_scan").record(DEV, first, ScanReport("failed", reason="layers too large"), Via.EVENT)
    named = addresses.anywhere(everywhere.policy, PLACE)
    (shown,) = repository.repository(everywhere.stack, named)["images"]
    view = ImageView(everywhere.stack, PLACE, contents.load(everywhere.stack, DEV, app.digest)).as_data()
    assert shown["scan"]["status"] == view["scan"]["status"] == "failed"


@pytest.mark.parametrize(
    ("statuses", "together"),
    [
        (["complete", "complete"], "complete"),
        (["complete", None], None),
        (["in_progress", None], None),
        (["unsupported", None, "complete"], "unsupported"),
        ([], None),
    ],
)
def test_the_worst_status_of_the_platforms_is_the_indexs(statuses: list[str | None], together: str | None) -> None:
    assert worst([{"status": each, "counts": {}, "at": None} for each in statuses])["status"] == together


def test_a_repository_shows_its_own_decisions_not_those_of_a_copy_with_another_name(everywhere: FakeStack) -> None:
    app, other = multi_arch(), Repository(DEV.registry, "rocketseat/copy")
    everywhere.registries.add(other)
    everywhere.push(app, "v1.0.0")
    everywhere.push(app, "v1.0.0", other)
    facts = everywhere.ledger.of_digest(app.digest)
    assert {fact.detail["name"] for fact in facts if fact.kind is Kind.DECIDED} == {NAME, "rocketseat/copy"}
    for name in (NAME, "rocketseat/copy"):
        (shown,) = repository.repository(everywhere.stack, addresses.anywhere(everywhere.policy, f"dev/{name}"))[
            "images"
        ]
        assert [row["repository"] for row in shown["decisions"]] == [name]
