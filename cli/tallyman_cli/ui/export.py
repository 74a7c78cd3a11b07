"""Writes the pages that the board leads to as files, each with its JSON twin, for a bucket or an archive."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tallyman.errors import BadInput, TallymanError
from tallyman_cli.shared import addresses
from tallyman_cli.ui import render
from tallyman_cli.ui.app import ROUTES, Application
from tallyman_cli.ui.desk import Desk
from tallyman_cli.ui.links import FileLinks, path, query
from tallyman_cli.views.board import SIZE, board
from tallyman_cli.views.repository import repository

FILES = ("desk.css", "tally.svg")


def export(desk: Desk, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the board, every repository, the images of its first page, the gates of what waits, retention and health.
    Return `{folder, pages, failed}`. Raises BadInput where the folder holds something that is no export."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "index.html").is_file())):
        raise BadInput(f"{folder} exists and is not an export: name a new folder, or an empty one")
    where = dict(_pages(desk))
    failed: list[dict[str, str]] = []
    for number, (address, file) in enumerate(where.items(), 1):
        if number % 50 == 0:
            say(f"{number} of {len(where)} pages")
        try:
            _write(desk, folder, where, address, file)
        except TallymanError as error:
            failed.append({"page": address, "error": str(error)})
    for name in FILES:
        target = folder / "static" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((render.STATIC / name).read_bytes())
    return {"folder": str(folder), "pages": len(where) - len(failed), "failed": failed}


def _pages(desk: Desk) -> Iterator[tuple[str, str]]:
    """The address of each page, as links write it, with its file."""
    pages = board(desk.stack)["pages"]
    for page in range(1, pages + 1):
        found = board(desk.stack, page=page, size=SIZE)
        yield query({"page": page} if page > 1 else {}), "index.html" if page == 1 else f"board-{page}.html"
        if page == 2:
            yield "?page=1", "index.html"
        for row in found["rows"]:
            for cell in row["cells"]:
                yield from _of_repository(desk, cell["environment"], row["repository"])
                for item in cell["waiting"]:
                    yield _file("why", item["from"], row["repository"], item["digest"], cell["environment"])
    yield "retention", "retention.html"
    yield "health", "health.html"


def _of_repository(desk: Desk, environment: str, name: str) -> Iterator[tuple[str, str]]:
    yield _file("repository", environment, name)
    found = repository(desk.stack, addresses.anywhere(desk.stack.policy, f"{environment}/{name}"))
    digests = [image["digest"] for image in found["images"]]
    digests += [
        each["release"]["digest"]
        for each in found["environments"]
        if each["environment"] == environment and each["release"]
    ]
    for digest in dict.fromkeys(digests):
        yield _file("image", environment, name, digest)


def _file(*parts: str) -> tuple[str, str]:
    return path(*parts), "/".join(parts).replace("sha256:", "sha256-") + ".html"


def _write(desk: Desk, folder: Path, where: dict[str, str], address: str, file: str) -> None:
    app = Application(desk, None, FileLinks(file, where))
    route, _, arguments = address.partition("?")
    endpoint, values = ROUTES.bind("").match(f"/{route}")
    given = {"page": arguments.partition("=")[2]} if arguments else {}
    page = app.page(endpoint, values, given)
    target = folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(app.html(page, "", given), encoding="utf-8")
    target.with_suffix(".json").write_text(render.as_json(page.data), encoding="utf-8")
