"""The project's own files, each read and parsed once in a run however many rules examine it."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]


@cache
def text(path: Path) -> str:
    """A file's text."""
    return path.read_text("utf-8")


@cache
def tree(path: Path) -> ast.Module:
    """A module's syntax tree, shared by all rules: do not change it."""
    return ast.parse(text(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a module's syntax tree; walking it takes longer than most rules."""
    return tuple(ast.walk(tree(path)))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the slow one without libyaml
    """Ignores CloudFormation's short tags."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


@cache
def template(name: str) -> dict[str, Any]:
    """A CloudFormation template by its file's name; `!Ref` and the like are read as None."""
    found: dict[str, Any] = yaml.load(text(ROOT / name), Loader=_Loader)
    return found
