"""docs/ as a site: generated pages are current, and the strict build succeeds."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tools.reference import PAGES

from support.stacks.templates import ROOT

MKDOCS = ROOT / ".venv-docs/bin/mkdocs"


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_current(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == PAGES[name](), f"{name} is not current: make reference"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text().replace("!!python/object/apply:pymdownx.slugs.slugify", "")
    navigation = str(yaml.safe_load(text)["nav"])
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"'{page.name}'" not in navigation] == []


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    mkdocs = str(MKDOCS) if MKDOCS.exists() else shutil.which("mkdocs")
    if mkdocs is None:
        pytest.skip("no mkdocs: make docs installs it")
    command = [mkdocs, "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site/start.html").is_file()
    for page in (tmp_path / "site").rglob("*.html"):
        for word in ("fonts.googleapis", "unpkg.com", "cdn.jsdelivr"):
            assert word not in page.read_text("utf-8"), page.name
