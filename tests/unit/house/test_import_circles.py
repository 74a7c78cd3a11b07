"""No import cycles: each module can be read, tested and replaced without those that use it."""

import ast
from pathlib import Path

from support.house.sources import tree

ROOT = Path(__file__).resolve().parents[3]
ROOTS = (ROOT / "layers/core/src", ROOT / "cli", ROOT / "local")


def modules() -> dict[str, Path]:
    found = {}
    for root in ROOTS:
        for path in root.rglob("*.py"):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules that it imports, at once or inside functions; imports for type checkers do not count."""
    found = set()
    module = tree(path)
    for node in [*module.body, *(n for f in ast.walk(module) if isinstance(f, ast.FunctionDef) for n in ast.walk(f))]:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in known else node.module for each in names}
    return (found & known.keys()) - {name}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The modules that remain after repeatedly removing those that import nothing, or that nothing imports."""
    left = {name: set(uses) for name, uses in graph.items()}
    while free := {name for name, uses in left.items() if not uses & left.keys()}:
        left = {name: uses for name, uses in left.items() if name not in free}
    while unused := set(left) - {each for uses in left.values() for each in uses}:
        left = {name: uses for name, uses in left.items() if name not in unused}
    return sorted(left)


def test_an_import_cycle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": set()}) == ["b", "c"]


def test_there_are_no_import_cycles() -> None:
    known = modules()
    assert circles({name: imported(name, path, known) for name, path in known.items()}) == []
