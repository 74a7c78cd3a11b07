"""`tallyman ui --export`: the same pages as files, with links only to each other."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

from support.fakes.cli_stack import FakeStack
from support.images.builders import DEV, multi_arch

NAME = "rocketseat/widget-server"


def test_every_page_is_a_file_and_every_link_works(everywhere: FakeStack, tmp_path: Path) -> None:
    first, second = multi_arch("one"), multi_arch("two")
    everywhere.push(first, "v1.0.0")
    everywhere.scan(first)
    everywhere.work()
    everywhere.push(second, "v1.1.0")
    everywhere.scan(second, {"critical": 2})
    folder = tmp_path / "site"
    done = everywhere.json("ui", "--export", str(folder))
    assert done["failed"] == []
    pages = sorted(folder.rglob("*.html"))
    assert len(pages) == done["pages"]
    names = {str(page.relative_to(folder)) for page in pages}
    digest = everywhere.registries.held(DEV).tags["v1.1.0"].replace(":", "-")
    assert {"index.html", "health.html", "retention.html", f"repository/dev/{NAME}.html"} <= names
    assert {f"image/dev/{NAME}/{digest}.html", f"why/dev/{NAME}/{digest}/prod.html"} <= names
    for page in pages:
        html = page.read_text()
        assert "<script" not in html
        assert "hx-" not in html
        for target in re.findall(r'(?:href|src)="([^"#]+)"', html):
            assert ":" not in target.partition("/")[0], target
            assert (page.parent / unquote(target)).resolve().is_file(), (page, target)
        json.loads(page.with_suffix(".json").read_text())
    again = everywhere.run("ui", "--export", str(folder))
    assert again.exit_code == 0


def test_a_folder_with_other_files_is_not_changed(everywhere: FakeStack, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = everywhere.run("ui", "--export", str(tmp_path))
    assert result.exit_code == 2
    assert "is not an export" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_contradicting_options_are_refused(everywhere: FakeStack, tmp_path: Path) -> None:
    assert everywhere.run("ui", "--export", str(tmp_path / "x"), "--allow-changes").exit_code == 2
    assert everywhere.run("ui", "--json").exit_code == 2
