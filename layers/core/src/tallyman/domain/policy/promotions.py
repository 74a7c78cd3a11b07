"""`promotions`: which images of a repository go from one environment to another, and through which gates."""

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta

from tallyman.domain.policy.environments import EnvironmentName
from tallyman.domain.policy.gates import GateConfig, Gates, KnownGates, Overridable
from tallyman.domain.policy.shapes import Duration, Key, Record
from tallyman.domain.policy.tags import ANY_TAG, TAGS_OR_ONE, TagRule
from tallyman.values import value


@value
class Promotion:
    """A promotion of tags from one environment to another, once every gate has passed. `gates` by their key, in the
    file's order. `tags` is the repository's `tags.allow` where the promotion has no `tags`. `overridable`: gates that
    people may override. `give_up`: how long a failing promotion is retried.
    """

    source: str
    target: str
    tags: TagRule = ANY_TAG
    gates: Mapping[str, GateConfig] = field(default_factory=dict)
    overridable: tuple[str, ...] = ()
    give_up: timedelta = timedelta(hours=24)


def promotion(gates: KnownGates) -> Record:
    """The shape of an entry of `promotions` that may name these gates."""
    return Record(
        {
            "from": Key(EnvironmentName(), "The source environment.", required=True),
            "to": Key(EnvironmentName(), "The target environment.", required=True),
            "tags": Key(TAGS_OR_ONE, "The tags to promote; default: those that the repository's tags.allow allows."),
            "gates": Key(Gates(gates), "The conditions for a promotion. An unknown gate is an error, never ignored."),
            "overridable": Key(
                Overridable(gates), "Gates, including freeze, that people may override with a reason (default: none)."
            ),
            "give_up": Key(
                Duration(), "How long a failing promotion is retried before it is parked as failed (default: 24h)."
            ),
        },
        Promotion,
        expected="a promotion, as in {from: dev, to: prod, tags: [semver]}",
        renamed={"from": "source", "to": "target"},
    )
