"""Import rules: functions → runtime → bootstrap → adapters, services → ports → state, domain → errors."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support.house.sources import nodes

ROOT = Path(__file__).resolve().parents[3]
CORE = ROOT / "layers/core/src/tallyman"
ORIGIN = ROOT / "layers/origin/src"
PACKAGES = ("tallyman", "tallyman_cli", "tallyman_local", "tallyman_origin")

# part → the parts of the core that it may import (itself always), and third-party packages
ADAPTED = {"tallyman_origin", "boto3", "botocore", "urllib3", "yaml", "mypy_boto3_ecr", "mypy_boto3_dynamodb"}
MAY: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), set()),
    "origin": (
        set(),
        {"cbor2", "cryptography", "rfc3161_client"},
    ),  # the layer of verify_origin, which does not import the core
    "values": (set(), set()),  # `@value`, which every part may use
    "domain": ({"errors"}, set()),
    "state": ({"domain", "errors"}, set()),
    "ports": ({"state", "domain", "errors"}, set()),
    "services": ({"ports", "state", "domain", "errors"}, set()),
    "settings": ({"domain", "errors"}, set()),
    "adapters": ({"ports", "state", "domain", "errors", "settings"}, ADAPTED),
    "bootstrap": ({"adapters", "services", "ports", "state", "domain", "errors", "settings"}, ADAPTED),
    "runtime": ({"bootstrap", "ports", "errors"}, {"aws_lambda_powertools"}),
    "functions": ({"runtime"}, set()),
    "local": ({"domain", "errors"}, {"*"}),
    "cli": ({"bootstrap", "services", "ports", "state", "domain", "errors", "settings", "adapters"}, {"*"}),
}
# The clock, the environment and I/O: not for the domain, which gets the time and the bytes as arguments.
NOT_PURE = {"os", "io", "time", "socket", "subprocess", "threading", "urllib", "http", "pathlib", "logging", "random"}


@cache
def imports(path: Path) -> tuple[str, ...]:
    """The full names of all modules that a file imports, anywhere in it."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                folders = path.parts[: -node.level]
                package = max(i for i, name in enumerate(folders) if name in PACKAGES)
                module = ".".join([*folders[package:], *filter(None, [module])])
            # `from tallyman import ports` imports a module, as `from tallyman.ports import Clock` does
            yield from (f"{module}.{alias.name}" for alias in node.names) if module in PACKAGES else [module]


def part_of(path: Path) -> str:
    if path.is_relative_to(CORE):
        return path.relative_to(CORE).parts[0].removesuffix(".py")
    if path.is_relative_to(ORIGIN):
        return "origin"
    return path.relative_to(ROOT).parts[0]


def wrong(path: Path) -> list[str]:
    part = part_of(path)
    if part == "__init__":
        return [name for name in imports(path) if name.split(".")[0] not in sys.stdlib_module_names]
    ours, foreign = MAY[part]
    found = []
    for name in imports(path):
        top, _, rest = name.partition(".")
        inner = rest.split(".")[0]
        if top == "tallyman":
            ok = inner in ours | {part, "values", "__version__"}
        elif top in ("tallyman_cli", "tallyman_local"):
            ok = part == "cli" or (part == "local" and top == "tallyman_local")
        elif top == "tallyman_origin":
            ok = part in ("origin", "adapters", "bootstrap")
        elif top in sys.stdlib_module_names:
            ok = part not in ("domain", "state", "errors") or top not in NOT_PURE
        else:
            ok = "*" in foreign or top in foreign
        if not ok:
            found.append(name)
    return found


FILES = sorted(
    path
    for folder in ("layers/core/src", "layers/origin/src", "functions", "cli", "local")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_its_part_may(path: Path) -> None:
    assert wrong(path) == []


def test_each_function_is_one_short_app_py() -> None:
    for path in (ROOT / "functions").rglob("*.py"):
        assert path.name == "app.py"
        assert len(path.read_text().splitlines()) <= 40, path


def test_only_settings_reads_the_environment() -> None:
    for path in CORE.rglob("*.py"):
        if path.name == "settings.py":
            continue
        names = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
        assert not names & {"environ", "getenv"}, path


# A room of services imports only from rooms above it in this list.
ROOMS = (
    "shared", "copying", "releases", "deciding", "retention", "promotion", "verification", "recording", "sealing",
    "reconcile",
)  # fmt: skip


def test_a_room_of_services_imports_only_from_rooms_before_it() -> None:
    for path in (CORE / "services").rglob("*.py"):
        room = path.relative_to(CORE / "services").parts[0]
        for name in imports(path):
            if name.startswith("tallyman.services."):
                assert ROOMS.index(name.split(".")[2]) <= ROOMS.index(room), f"{path.name}: {name}"


def test_every_room_of_services_is_in_the_list() -> None:
    assert {path.name for path in (CORE / "services").iterdir() if path.is_dir()} - {"__pycache__"} == set(ROOMS)
