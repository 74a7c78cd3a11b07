"""Read `tallyman.yaml`: YAML to plain data with the line of each part, which the domain then parses."""

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tallyman.adapters.files.reading import read
from tallyman.domain.gates import GATES
from tallyman.domain.gates.notation import ROOTS
from tallyman.domain.gates.signers import signers_of
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy, PolicyProblem, Problem, parse_policy
from tallyman.domain.policy.reading import path_text
from tallyman.errors import PolicyError

TRUST_ROOTS = "trusted_root.json"
"""The file beside the policy with the certificate authorities and logs that vouch for identities."""
TRUST_STORES = ("notation-ca.pem", "notation-signing-authority.pem", "notation-tsa.pem")
"""The files beside the policy with the certificates that vouch for Notation's signers, signing authorities and
timestamps."""
_PUT = "put the certificates that vouch for them there, as PEM"
MAX_BYTES = 1024 * 1024
MAX_PARTS = 100_000  # aliases can multiply the parts of a small file without end

_INTEGER = "tag:yaml.org,2002:int"
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9][0-9_]*)")
"""YAML 1.1 also has octal, sexagesimal and other numbers: 010 is 8, and 12:30 is 750. Editors, and people, read
YAML 1.2, where 010 is 10."""
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
Place = tuple[str | int, ...]
Pair = tuple[yaml.Node, yaml.Node, bool]
"""A key and a value of a mapping, and whether they are its own rather than merged."""


def load(path: str | Path) -> Policy:
    """The policy in a file, with the digests of the trust roots beside it, and warnings where some are missing. Raises
    PolicyError, with a line for each problem, or where a file can't be read."""
    try:
        raw = read(path, MAX_BYTES)
    except OSError as error:
        raise PolicyError(f"{path}: can't be read: {error.strerror or error}") from error
    folder = Path(path).parent
    roots = beside(folder, TRUST_ROOTS)
    stores = trust_stores(folder)
    found = (str(Digest.of(roots)) if roots is not None else None, stores_digest(stores))
    policy = loads(raw, str(path))
    warnings = (*policy.warnings, *_without_trust(policy, roots, stores))
    return replace(policy, roots=",".join(each for each in found if each) or None, warnings=warnings)


def _without_trust(policy: Policy, roots: bytes | None, stores: Sequence[bytes | None]) -> Iterator[str]:
    """Signers whom nothing beside the policy vouches for: their signatures open no gate."""
    signers = signers_of(promotion for rule in policy.repositories for promotion in rule.promotions)
    notation = [who for each in signers for who in each.notation]
    fetched = "`tallyman policy trust-roots` fetches it"
    for what, is_named, name, content, todo in (
        ("identities", any(each.identities for each in signers), TRUST_ROOTS, roots, fetched),
        ("subjects of Notation", any(who.subject for who in notation), TRUST_STORES[0], stores[0] or stores[1], _PUT),
        ("profiles of AWS Signer", any(who.profile for who in notation), TRUST_STORES[1], stores[1], _PUT),
    ):
        if is_named and not content:
            lack = f"{what} are named as signers, and {name} is not beside the policy"
            yield f"{lack}: no signature of theirs counts; {todo}"


def trust_stores(folder: Path) -> list[bytes | None]:
    """The content of each of Notation's trust stores in the folder; None: there is no such file. Raises PolicyError."""
    return [beside(folder, name) for name in TRUST_STORES]


def stores_digest(stores: Sequence[bytes | None]) -> str | None:
    """One digest of Notation's trust stores, `notation:sha256:<hex>`; None: there are none."""
    if not any(stores):
        return None
    return f"{ROOTS}{Digest.of(b''.join(Digest.of(each or b'').encode() for each in stores))}"


def beside(folder: Path, name: str) -> bytes | None:
    """The content of a file in the policy's folder; None: there is none. Raises PolicyError."""
    try:
        return read(folder / name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError(f"{folder / name}: can't be read: {error.strerror or error}") from error


def loads(raw: bytes, name: str = "tallyman.yaml") -> Policy:
    """The policy in these bytes, YAML or JSON. `name`: the file's name in messages. Raises PolicyError."""
    if len(raw) > MAX_BYTES:
        raise _problem(name, None, f"expected at most {MAX_BYTES} bytes, found {len(raw)}")
    try:  # PyYAML's own parser: libyaml's is thirty times as fast, but crashes the process on deep nesting
        node = yaml.compose(raw.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _problem(name, line, "expected UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _problem(name, mark.line + 1 if mark else None, _explain(error)) from error
    except yaml.reader.ReaderError as error:
        text = raw.decode("utf-8-sig")
        line = text.count("\n", 0, error.position) + 1
        raise _problem(name, line, f"a character that YAML does not allow (#x{error.character:04x})") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _problem(name, None, f"not YAML: {error}") from error
    if node is None:
        return parse_policy(None, GATES, name=name, raw=raw)
    reader = _Reader(name)
    try:
        data = reader.data(node, ())
    except RecursionError as error:
        raise _problem(name, None, "nested too deeply") from error
    return parse_policy(data, GATES, reader.lines, name=name, raw=raw, earlier=reader.problems)


def _problem(name: str, line: int | None, message: str) -> PolicyProblem:
    return PolicyProblem((Problem(name, line, "", message),))


def _explain(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join(filter(None, (error.context, error.problem)))
    if "'\\t'" in problem:
        return "a tab is not indentation in YAML: expected spaces"
    return f"not YAML: {problem}"


class _Reader:
    """Converts YAML nodes to data, and records lines, duplicate keys and invalid values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self._parts = 0
        self._constructor = yaml.constructor.SafeConstructor()
        self._open: list[yaml.Node] = []
        self._merged: dict[int, list[Pair]] = {}

    def data(self, node: yaml.Node, place: Place, line: int | None = None) -> Any:
        """The node's value. `line`: the line of its key, where it has one."""
        self._parts += 1
        here = node.start_mark.line + 1 if line is None else line
        self.lines[place] = here
        if self._parts > MAX_PARTS:
            raise _problem(self.name, here, f"expected a policy, found more than {MAX_PARTS} parts (aliases count)")
        if any(node is outer for outer in self._open):
            raise _problem(self.name, here, "an alias to a part that contains it")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN:
            self._note(here, place, f"a mapping or list has the unknown tag {node.tag}")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, place)
            if isinstance(node, yaml.SequenceNode):
                return [self.data(item, (*place, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, place, here)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        seen: dict[Hashable, int] = {}
        for key_node, value_node, is_own in self._pairs(node):
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(line, place, "expected text as a key, found a list or a mapping")
                continue
            # in YAML 1.1 `on` is true; as a key it is always meant as text
            key = "on" if key_node.value == "on" else self._scalar(key_node, place, line)
            if is_own:
                if key in seen:
                    self._note(line, (*place, str(key)), f"'{key}' is there twice, first in line {seen[key]}")
                seen[key] = line
            found[key] = self.data(value_node, (*place, str(key)), line)
        return found

    def _pairs(self, node: yaml.MappingNode) -> list[Pair]:
        """The pairs of a mapping: first those that `<<: *anchor` merges, then its own, which override them. Made once
        for each node: an anchor may be merged any number of times, and each of these may be merged again."""
        if id(node) in self._merged:
            return self._merged[id(node)]
        merged: dict[Hashable, Pair] = {}
        own: list[Pair] = []
        for key, value in node.value:
            if key.tag != _MERGE:
                own.append((key, value, True))
                continue
            for source in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    expected = f"expected a mapping or a list of mappings for merging, found a {source.id}"
                    raise _problem(self.name, source.start_mark.line + 1, f"not YAML: {expected}")
                merged |= {_text(pair[0]): (*pair[:2], False) for pair in self._pairs(source)}
        mine = {_text(key) for key, _, _ in own}
        pairs = self._merged[id(node)] = [*(pair for text, pair in merged.items() if text not in mine), *own]
        return pairs

    def _scalar(self, node: yaml.Node, place: Place, line: int) -> Any:
        try:
            value = self._constructor.construct_object(node)
            if isinstance(value, int) and node.tag == _INTEGER and not _DECIMAL.fullmatch(node.value):
                self._note(
                    line, place, f"'{node.value}' would be {value} in YAML 1.1: write a decimal number, or quote it"
                )
                return str(node.value)
            return value
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # For example an unknown tag (!thing), or a date that does not exist.
            detail = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
            self._note(line, place, f"'{node.value}' can't be read: {detail}")
            return str(node.value)

    def _note(self, line: int, place: Place, message: str) -> None:
        self.problems.append(Problem(self.name, line, path_text(place), message))


def _text(key: yaml.Node) -> Hashable:
    """What equal keys of mappings have in common; every key that is not text is different."""
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
