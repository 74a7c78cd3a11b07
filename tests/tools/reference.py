"""`make reference`: docs/policy-reference.md and docs/commands-reference.md, generated from the code; a test
compares."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from support.house.commands import leaves
from tallyman.domain.gates import GATES
from tallyman.domain.policy import json_schema
from tallyman_cli.main import app

ROOT = Path(__file__).resolve().parents[2]
Row = tuple[str, str, str]


def policy_page() -> str:
    """Every key of a policy, with its values and meaning."""
    top: Mapping[str, Any] = json_schema(GATES)["properties"]
    lines = [
        "# Every key of a policy",
        "",
        "Generated from the code by `make reference`. [policy.md](policy.md) and [gates.md](gates.md) explain",
        "how the keys work together. `[]` is an item of a list, `*` a name that you choose.",
    ]
    for name, schema in top.items():
        lines += ["", f"## `{name}`", "", schema["description"], "", "| key | value | description |", "|---|---|---|"]
        lines += [f"| `{key}` | {_cell(takes)} | {_cell(says)} |" for key, takes, says in _unique(_keys(name, schema))]
    return "\n".join(lines) + "\n"


def _unique(rows: Iterator[Row]) -> list[Row]:
    return list(dict.fromkeys(rows))


def _keys(path: str, schema: Any) -> Iterator[Row]:
    if not isinstance(schema, Mapping):
        return
    for form in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(form, ()):
            yield from _keys(path, each)
    yield from _keys(f"{path}[]", schema.get("items"))
    yield from _keys(f"{path}.*", schema.get("additionalProperties"))
    for name, each in schema.get("properties", {}).items():
        required = ", required" if name in schema.get("required", ()) else ""
        yield f"{path}.{name}", _takes(each) + required, each.get("description", "")
        yield from _keys(f"{path}.{name}", each)


def _takes(schema: Mapping[str, Any]) -> str:
    """The form of a value, in a few words."""
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for form in ("anyOf", "oneOf"):
        if form in schema and "type" not in schema:
            return " or ".join(dict.fromkeys(_takes(each) for each in schema[form]))
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next(each for each in kind if each != "null")
    if kind == "array":
        each = _takes(schema["items"])
        return f"a list of {each.removeprefix('a ') + 's' if each.startswith('a ') else each}"
    words = {"boolean": "true or false", "integer": "a whole number", "number": "a number", "object": "a mapping"}
    return words.get(str(kind), "a string" if kind == "string" else "a value")


def commands_page() -> str:
    """Every command with its help, arguments and options."""
    lines = [
        "# Every command",
        "",
        "The help of every command, generated from the code by `make reference`. With examples and output:",
        "[commands.md](commands.md).",
    ]
    root: Any = typer.main.get_command(app)
    for path, command in leaves(root):
        with typer.Context(command, info_name=" ".join(["tallyman", *path]), terminal_width=100) as context:
            usage = command.get_usage(context).removeprefix("Usage: ")
        lines += ["", f"## tallyman {' '.join(path)}", "", "```", usage, "```", "", *_wrapped(command.help)]
        rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            lines += ["", "| | |", "|---|---|", *(f"| `{_cell(name)}` | {_cell(says)} |" for name, says in rows)]
    return "\n".join(lines) + "\n"


def _row(parameter: Any) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper(), parameter.help or ""
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    return f"{names}{value}", parameter.help or ""


def _wrapped(text: str | None) -> list[str]:
    parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", (text or "").strip())]
    return [line for part in parts for line in ("", *textwrap.wrap(_cell(part), 120, break_on_hyphens=False))][1:]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


PAGES = {"docs/policy-reference.md": policy_page, "docs/commands-reference.md": commands_page}
"""The generated pages, each with its generator."""


if __name__ == "__main__":
    for name, made in PAGES.items():
        (ROOT / name).write_text(made(), "utf-8")
