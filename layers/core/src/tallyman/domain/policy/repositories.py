"""`repositories`: what holds for which repositories. What an entry holds in depth is in modules of its own."""

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
    """How far verification goes into layers."""

    PRESENCE = "presence"  # each is there, with the size that the manifest states
    CONTENT = "content"  # each is also read and hashed


@value
class Verify:
    """`platforms`: those that an image must offer, as `os/architecture[/variant]`; empty: any."""

    layers: Layers = Layers.CONTENT
    platforms: tuple[str, ...] = ()


@value
class RepositoryRule:
    """What holds for the repositories whose canonical name `match` matches."""

    match: str
    create: Create = Create()
    tags: TagRule = ANY_TAG
    verify: Verify = Verify()
    promotions: tuple[Promotion, ...] = ()
    retention: Retention = Retention()


def _repository(**values: Any) -> RepositoryRule:
    rule = RepositoryRule(**values)
    # A promotion without tags takes what the repository allows, which is known only now.
    promotions = (replace(p, tags=rule.tags) if p.tags is ANY_TAG else p for p in rule.promotions)
    return replace(rule, promotions=tuple(promotions))


def _entry(gates: KnownGates) -> Record:
    return Record(
        {
            "match": Key(
                String(r"[a-z0-9*?](?:[a-z0-9._*?/-]*[a-z0-9*?])?", "a repository or a glob such as rocketseat/*"),
                "Which repositories, by canonical name; * is any characters, / among them. The first entry that "
                "matches counts.",
                required=True,
            ),
            "create": Key(CREATE, "How the repository is created, and what an existing one is compared with."),
            "tags": Key(
                Record(
                    {
                        "allow": Key(
                            TAGS,
                            "Tags that pass verification and may be promoted. ECR takes pushes of others all the "
                            "same: they are recorded, and go nowhere. Kinds, names and globs are alternatives; each "
                            "range must hold too.",
                        )
                    },
                    lambda allow=None: ANY_TAG if allow is None else allow,
                    expected="{allow: [semver, latest]}",
                ),
                "Which tags pass verification and may be promoted; without it, all. It holds no push back.",
            ),
            "verify": Key(
                Record(
                    {
                        "layers": Key(
                            Choice(Layers),
                            "content (default): each layer is read and hashed; presence: it is there, of the "
                            "right size.",
                        ),
                        "platforms": Key(
                            ListOf(
                                String(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?", "a platform such as linux/arm64"),
                                least=1,
                            ),
                            "Platforms that an image must offer, such as linux/arm64; without it, any.",
                        ),
                    },
                    Verify,
                    expected="{layers: content}",
                ),
                "How images are verified.",
            ),
            "promotions": Key(
                ListOf(promotion(gates)), "Which images go from where to where, and through which gates."
            ),
            "retention": Key(RETENTION, "Which images stay, and which are removed."),
        },
        _repository,
        expected="a repository entry, as in {match: rocketseat/*}",
    )


class Repositories:
    """The entries of `repositories`; one that is wrong leaves None in its place, so that numbers stay right."""

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
