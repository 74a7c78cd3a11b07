"""The rooms of the local cloud: each imports only from the rooms before it, without import cycles."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.house.sources import nodes

LOCAL = Path(__file__).resolve().parents[3] / "local" / "tallyman_local"
ROOMS = ("server", "ecr", "moto", "stack", "events", "runtime", "aws", "cloud")
#: The ECR's own rooms; its other modules (errors, identity, manifests, model, policies) stand beneath them.
OF_ECR = ("store", "rules", "api", "v2")
PUT_TOGETHER = ("service", "registries", "failures")


def modules() -> Iterator[tuple[Path, list[str]]]:
    """Each file with the modules of the local cloud that it imports, as parts below `tallyman_local`."""
    for path in sorted(LOCAL.rglob("*.py")):
        found = []
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tallyman_local"):
                module = str(node.module)
                for alias in node.names:
                    inner = f"{module}.{alias.name}"
                    there = LOCAL.parent / (inner.replace(".", "/") + ".py")
                    found.append(inner if there.is_file() else module)
        yield path, [name.removeprefix("tallyman_local.") for name in found]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(LOCAL).with_suffix("").parts)


def rank(module: str) -> int:
    """The position of one of the ECR's modules: basics, store, rules, api, v2, and the module that combines them."""
    parts = module.split(".")
    if len(parts) > 1 and parts[1] in OF_ECR:
        return 1 + OF_ECR.index(parts[1])
    return 9 if len(parts) == 1 or parts[1] in PUT_TOGETHER else 0


def test_every_room_is_in_the_list() -> None:
    assert {path.name for path in LOCAL.iterdir() if path.is_dir()} - {"__pycache__"} == set(ROOMS)


def test_a_room_imports_only_from_rooms_before_it() -> None:
    wrong = []
    for path, imported in modules():
        room = path.relative_to(LOCAL).parts[0]
        if room not in ROOMS:
            continue
        for name in imported:
            if ROOMS.index(name.split(".")[0]) > ROOMS.index(room):
                wrong.append(f"{name_of(path)}: {name}")
            if room == name.split(".")[0] == "ecr" and rank(name) > rank(name_of(path)) and path.name != "__init__.py":
                wrong.append(f"{name_of(path)}: {name}")
    assert wrong == []


def test_the_local_cloud_has_no_import_cycles() -> None:
    graph = {name_of(path): set(imported) for path, imported in modules() if path.name != "__init__.py"}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way[way.index(name) :], name])
        if name in graph and name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("word", ["_exit", "getattr", "hasattr"])
def test_getattr_and_os_exit_are_used_only_where_allowed(word: str) -> None:
    """`getattr` is used only where a handler is found by its name, as Lambda finds it."""
    found = {
        name_of(path)
        for path, _ in modules()
        for node in nodes(path)
        if (isinstance(node, ast.Name) and node.id == word) or (isinstance(node, ast.Attribute) and node.attr == word)
    }
    assert found - {"runtime.worker"} == set()
