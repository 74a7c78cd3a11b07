"""Repositories for retention tests: an Inventory from short descriptions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from support.images.builders import DEV, digest_of
from tallyman.adapters.files.policy_file import loads
from tallyman.domain.names import Digest, EcrRegistry
from tallyman.domain.policy import Policy
from tallyman.domain.retention import Inventory, Plan, Reading, RetentionInputs, plan_retention
from tallyman.domain.retention.inventory import millis
from tallyman.domain.usage import Use

NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
REGISTRY = DEV.registry


@dataclass(frozen=True)
class Img:
    """One image: `name` makes its digest; `lists` and `subject` are names; `age`: days since its push."""

    name: str
    tags: tuple[str, ...] = ()
    age: float = 100
    lists: tuple[str, ...] | None = None
    subject: str | None = None
    layers: tuple[str, ...] = ()
    pulled: float | None = None
    archived: bool = False
    unread: bool = False

    @property
    def digest(self) -> Digest:
        return digest_of(self.name)


def layer_size(name: str) -> int:
    """Bytes of a layer, different for each name."""
    return 1000 + int(digest_of(name)[7:11], 16)


def inventory(images: Iterable[Img]) -> Inventory:
    """A repository of dev with these images."""
    found = Inventory(DEV, DEV.name, "dev")
    for img in images:
        row = found.add_raw(
            img.digest,
            img.tags,
            millis(NOW - timedelta(days=img.age)),
            sum(map(layer_size, img.layers)),
            is_index=img.lists is not None,
            pulled=-1 if img.pulled is None else millis(NOW - timedelta(days=img.pulled)),
            archived=img.archived,
            subject=None if img.subject is None else digest_of(img.subject),
        )
        if img.unread:
            found.unread[row] = "its manifest was not read"
        elif img.lists is not None:
            found.link(row, [digest_of(name) for name in img.lists])
        else:
            found.hold(row, [(digest_of(name), layer_size(name)) for name in img.layers])
    return found


@cache
def retention_policy(text: str = "{}") -> Policy:
    """The demo's environments, with this retention for every repository."""
    return loads(
        f"""
environments:
  dev:  {{registries: [111111111111/us-east-2]}}
  prod: {{registries: [222222222222/us-east-2, 222222222222/sa-east-1]}}
repositories:
  - match: rocketseat/*
    promotions: [{{from: dev, to: prod, tags: [semver]}}]
    retention: {text}
""".encode()
    )


def reading(*uses: Use, error: str | None = None, where: EcrRegistry = REGISTRY, regional: bool = False) -> Reading:
    """One observation of ECS."""
    return Reading("ECS", where, NOW, uses, error, regional)


def use(name: str | None = None, tag: str | None = None, days: float | None = None) -> Use:
    """A task that has run the digest or the tag for this many days."""
    reference = digest_of(name) if name else tag or "latest"
    since = None if days is None else NOW - timedelta(days=days)
    found = digest_of(name) if name else None
    return Use("ecs task", "web/1", DEV.at(reference), REGISTRY, DEV, None if name else tag, found, since)


@dataclass
class Case:
    """A policy, images, and the other inputs; `plan` is the plan for them."""

    policy: Policy
    images: Sequence[Img]
    usage: Sequence[Reading] = ()
    known: RetentionInputs = field(default_factory=RetentionInputs)

    def plan(self) -> Plan:
        return plan_retention(self.policy, inventory(self.images), self.usage, self.known, NOW)

    def without(self, gone: set[str]) -> "Case":
        return replace(self, images=[i for i in self.images if i.name not in gone])


def removed(plan: Plan, images: Iterable[Img]) -> set[str]:
    """The names of the images that the plan removes."""
    return {img.name for img in images if plan.goes(img.digest)}


def goes(text: str, *images: Img, usage: Sequence[Reading] = (), known: RetentionInputs | None = None) -> set[str]:
    """The names of the images that this retention removes."""
    case = Case(retention_policy(text), images, usage, known or RetentionInputs())
    return removed(case.plan(), images)
