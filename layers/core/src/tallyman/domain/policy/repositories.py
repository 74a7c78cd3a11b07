"""`repositories`: the rules for repositories. The larger keys of an entry have their own modules."""

from dataclasses import replace
from enum import StrEnum
from typing import Any

from tallyman.domain.policy.create import CREATE, Create
from tallyman.domain.policy.gates import KnownGates
from tallyman.domain.policy.promotions import Promotion, promotion
from tallyman.domain.policy.reading import Node, Wrong
from tallyman.domain.policy.retention import RETENTION, Retention
from tallyman.domain.policy.shapes import Choice, Key, ListOf, Record, Schema, String
from tallyman.domain.policy.tags import ANY_TAG, TAGS, TagRule
from tallyman.values import value


class Layers(StrEnum):
    """How far verification checks layers."""

    PRESENCE = "presence"  # each layer exists, with the size that the manifest states
    CONTENT = "content"  # each layer is also read and hashed


@value
class Verify:
    """How images are verified. `platforms`: those that an image must have, as `os/architecture[/variant]`; empty:
    any."""

    layers: Layers = Layers.CONTENT
    platforms: tuple[str, ...] = ()


@value
class RepositoryRule:
    """The rule for the repositories whose canonical name `match` matches."""

    match: str
    create: Create = Create()
    tags: TagRule = ANY_TAG
    verify: Verify = Verify()
    promotions: tuple[Promotion, ...] = ()
    retention: Retention = Retention()


def _repository(**values: Any) -> RepositoryRule:
    rule = RepositoryRule(**values)
    # a promotion without tags gets those that the repository allows, which are known only now
    promotions = (replace(p, tags=rule.tags) if p.tags is ANY_TAG else p for p in rule.promotions)
    return replace(rule, promotions=tuple(promotions))


def _entry(gates: KnownGates) -> Record:
    return Record(
        {
            "match": Key(
                String(r"[a-z0-9*?](?:[a-z0-9._*?/-]*[a-z0-9*?])?", "a repository or a glob such as rocketseat/*"),
                "Which repositories, by canonical name; * matches any characters, including /. The first entry that "
                "matches counts.",
                required=True,
            ),
            "create": Key(CREATE, "The settings of new repositories. Existing repositories are compared with them."),
            "tags": Key(
                Record(
                    {
                        "allow": Key(
                            TAGS,
                            "Tags that pass verification and may be promoted. ECR accepts pushes of other tags too: "
                            "they are recorded, and never promoted. Kinds, names and globs are alternatives; each "
                            "range must match as well.",
                        )
                    },
                    lambda allow=None: ANY_TAG if allow is None else allow,
                    expected="{allow: [semver, latest]}",
                ),
                "Which tags pass verification and may be promoted (default: all). It prevents no push.",
            ),
            "verify": Key(
                Record(
                    {
                        "layers": Key(
                            Choice(Layers),
                            "content (default): each layer is downloaded and hashed; presence: it exists and has "
                            "the right size.",
                        ),
                        "platforms": Key(
                            ListOf(
                                String(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?", "a platform such as linux/arm64"),
                                least=1,
                            ),
                            "Platforms that an image must have, such as linux/arm64 (default: any).",
                        ),
                    },
                    Verify,
                    expected="{layers: content}",
                ),
                "How images are verified.",
            ),
            "promotions": Key(
                ListOf(promotion(gates)), "Which images are promoted from where to where, and through which gates."
            ),
            "retention": Key(RETENTION, "Which images stay, and which are removed."),
        },
        _repository,
        expected="a repository entry, as in {match: rocketseat/*}",
    )


class Repositories:
    """The entries of `repositories`; None stands for an entry that can't be parsed, so that indexes stay right."""

    def __init__(self, gates: KnownGates) -> None:
        self.entry = _entry(gates)

    def read(self, node: Node) -> tuple[RepositoryRule | None, ...]:
        if not isinstance(node.value, list):
            raise node.expected("a list of repository entries, as in [{match: rocketseat/*}]")
        found: list[RepositoryRule | None] = []
        for index, each in enumerate(node.value):
            try:
                found.append(self.entry.read(node.child(index, each)))
            except Wrong:
                found.append(None)
        return tuple(found)

    def schema(self) -> Schema:
        return {"type": "array", "items": self.entry.schema()}
