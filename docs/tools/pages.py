"""Hooks of mkdocs: add pages from outside docs/, and turn links of the repository into links of the site."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File  # type: ignore[import-not-found]  # of .venv-docs

ROOT = Path(__file__).resolve().parents[2]
OUTER = {
    "README.md": "start.md",
    "README.pt-BR.md": "comecar.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "report.md",
}
"""Pages of the repository's top level, and their names on the site."""
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?:|mailto:|#)(?P<to>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Lists the decisions by their files."""
    names = sorted(p.name for p in (ROOT / "docs/decisions").glob("0*.md"))
    config["nav"] = _listed(config["nav"], [f"decisions/{name}" for name in names])
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the outer pages."""
    for source, name in OUTER.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Replaces links whose target is not a page of the site (a template, a folder) by their text."""
    outer = {name: source for source, name in OUTER.items()}
    source = outer.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def replaced(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["to"]))
        inner = OUTER.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if inner is None or files.get_file_from_path(inner) is None:
            return match["text"]
        here = posixpath.relpath(inner, posixpath.dirname(page.file.src_uri) or ".")
        return f"{match['image']}[{match['text']}]({here}{match['anchor'] or ''})"

    return _LINK.sub(replaced, markdown)


def _listed(node: Any, decisions: list[str]) -> Any:
    if isinstance(node, list):
        return [each for item in node for each in (decisions if item == "DECISIONS" else [_listed(item, decisions)])]
    if isinstance(node, dict):
        return {key: _listed(value, decisions) for key, value in node.items()}
    return node
