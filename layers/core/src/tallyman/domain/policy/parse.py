"""Parsing of a policy: from plain data to a `Policy`, or to one error that lists every problem with its line."""

from collections.abc import Mapping, Sequence
from typing import Any

from tallyman.domain.policy.consistency import check_environments, check_repositories
from tallyman.domain.policy.gates import KnownGates
from tallyman.domain.policy.model import Policy
from tallyman.domain.policy.reading import Document, Node, PolicyProblem, Positions, Problem, Wrong, check_keys
from tallyman.domain.policy.schema import top_keys


def parse_policy(
    data: object,
    gates: KnownGates,
    positions: Positions | None = None,
    *,
    name: str = "tallyman.yaml",
    raw: bytes = b"",
    earlier: Sequence[Problem] = (),
) -> Policy:
    """Parse plain data (dicts, lists, strings, numbers, dates); None, the data of an empty file, is a policy of
    defaults.

    `gates`: those that the policy may name. `positions`: the line of each path, such as `("environments", "dev")`.
    `earlier`: problems that the reader of the file found. Raises PolicyProblem with all problems, including `earlier`.
    """
    document = Document(name, positions or {}, earlier)
    top = Node({} if data is None else data, (), document)
    keys = top_keys(gates)
    values: dict[str, Any] = {}
    if isinstance(top.value, Mapping):
        check_keys(top, tuple(keys))
        named = top.value.get("environments")
        document.environments = tuple(n for n in named if isinstance(n, str)) if isinstance(named, Mapping) else ()
        for key, known in keys.items():
            # `repositories:` without a value is a file in which all entries are commented out
            if top.value.get(key) is not None:
                try:
                    values[key] = known.shape.read(top.child(key, top.value[key]))
                except Wrong:
                    continue  # noted in the document
    else:
        top.expected("a mapping with " + ", ".join(keys))
    environments = values.get("environments", {})
    repositories = values.get("repositories", ())
    check_environments(top.child("environments", environments), environments)
    check_repositories(top.child("repositories", repositories), repositories)
    if document.problems:
        raise PolicyProblem(_in_order(document.problems, earlier))
    return Policy(**values, raw=raw, source=name, warnings=tuple(map(str, document.warnings)))


def _in_order(problems: Sequence[Problem], earlier: Sequence[Problem]) -> tuple[Problem, ...]:
    """The problems by line. An entry that can't be read is reported once, not again as an unexpected value."""
    reported = {(problem.line, problem.key) for problem in earlier}
    rest = [problem for problem in problems[len(earlier) :] if (problem.line, problem.key) not in reported]
    return tuple(sorted([*earlier, *rest], key=lambda problem: problem.line or 0))
