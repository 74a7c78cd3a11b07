"""The data of `show`: the image as its manifests describe it, and as the ledger records it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tallyman.domain.costs import Prices
from tallyman.domain.gates import recalled
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.referrers import Referred
from tallyman.domain.history.details.verifications import Verified
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.images.verification import PlatformImage
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.people import who
from tallyman.domain.plain import plain
from tallyman.domain.times import format_time
from tallyman.errors import BadManifest, DigestMismatch, NotFound, TallymanError
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman_cli.shared import output
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import places, record
from tallyman_cli.views.contents import Contents


def costs(prices: Prices, shown: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an image (the form of `show --json`) costs in each registry that has it, where a price is known."""
    found = (prices.monthly(EcrRegistry.parse(where["registry"]), shown["size"] or 0) for where in shown["locations"])
    return [cost for cost in found if cost is not None]


@dataclass
class ImageView:
    """One image: what was read of it (`inside`), and what the ledger records about it. `text`: its name as written.

    Cost: besides that of `contents.load`, a Query for the image and each platform.
    """

    stack: Stack
    text: str
    inside: Contents

    def __post_init__(self) -> None:
        self.place, self.digest = self.inside.place, self.inside.digest
        self.image = load_image_facts(self.stack.ledger, self.stack.state, self.digest)

    def as_data(self) -> dict[str, Any]:
        """The form of `show --json`. Raises NotFound; DigestMismatch where a manifest is damaged."""
        if self.inside.silent is not None:
            output.trouble(f"{self.place} can't be read ({self.inside.silent}): shown as it was recorded")
        root = self.inside.root
        _require_whole(self.inside.missing.get(self.digest))
        if root is None:
            raise self.inside.silent or NotFound(f"{self.text}: there is no image {self.digest} in {self.place}")
        platforms = self.inside.platforms() if root.is_index else self._own_platform()
        for platform in platforms:
            _require_whole(self.inside.missing.get(platform.digest))
        locations = self.locations()
        tags = {tag for where in locations if where["registry"] == str(self.place.registry) for tag in where["tags"]}
        return {
            "image": self.text,
            "digest": self.digest,
            "media_type": root.media_type,
            "size": self._size(root, platforms),
            "platforms": [plain(p) for p in platforms],
            "tags": sorted(tags or {tag for where in locations for tag in where["tags"]}),
            "registries": [where["registry"] for where in locations],
            "locations": locations,
            "built": self.built(),
            "verified": self.verified(),
            "scan": self.scan(platforms),
            "promotions": self.promotions(),
            "recalls": self.recalls(),
        }

    def recalls(self) -> list[dict[str, Any]]:
        """The recalls of the image and of what is beneath it, the earliest first: {digest, at, by, because}."""
        return [
            {"digest": digest, "at": format_time(fact.at), "by": who(fact), "because": Said.parse(fact).because}
            for digest, fact in sorted(recalled.recalls(self.image), key=lambda pair: (pair[1].at, pair[1].id))
        ]

    def facts_of(self, digest: Digest) -> Sequence[Fact]:
        """The facts of the image, or of a platform image beneath it. Cost: a Query for one whose facts were not read
        with the image."""
        if digest == self.digest:
            return self.image.facts
        return self.image.platforms.get(digest) or self.stack.ledger.of_digest(digest)

    def _own_platform(self) -> list[PlatformImage]:
        """A single image as its own platform; empty for what nothing can run. Where its configuration can't be read,
        the platform that a verification read there."""
        (own,) = self.inside.platforms()
        error = self.inside.unread.get(self.digest)
        _require_whole(error)
        if error is not None and self.inside.silent is None:
            output.trouble(f"the configuration of {self.place}@{self.digest} can't be read: {error}")
        if not own.platform.unknown:
            return [own]
        read = [p for f in self.image.of(Kind.VERIFIED) for p in Verified.parse(f).platforms]
        return [replace(own, **{key: read[-1][key] for key in ("os", "architecture", "variant")})] if read else []

    def _size(self, root: Manifest, platforms: list[PlatformImage]) -> int | None:
        if not root.is_index:
            return root.size
        sizes = {p.digest: p.size for p in platforms}
        return None if None in sizes.values() else sum(size for size in sizes.values() if size is not None)

    def locations(self) -> list[dict[str, Any]]:
        """Where it is now, by the facts, else by its registry: {registry, repository, environment, tags}, in the
        policy's order."""
        by_place: dict[Repository, list[Fact]] = {}
        for fact in self.image.facts:
            if fact.repository and fact.kind in record.PRESENCE:
                by_place.setdefault(fact.repository, []).append(fact)
        found = []
        for place, facts in by_place.items():
            tags = sorted(t for (p, t), d in self.image.pointing.items() if p == place and d == self.digest)
            if not tags and not record.is_there(facts):
                continue
            found.append(self._location(place, tags))
        order = {str(registry): number for number, registry in enumerate(self.stack.policy.registries())}
        return sorted(found, key=lambda where: order.get(where["registry"], len(order))) or self._unrecorded()

    def _unrecorded(self) -> list[dict[str, Any]]:
        """Where the image is by its registry, if no push of it is recorded."""
        if self.inside.silent is not None or any(f.kind in PUSHES for f in self.image.facts):
            return []
        details = self.stack.source.describe(self.place, [self.digest])
        return [self._location(self.place, sorted(detail.tags)) for detail in details]

    def _location(self, place: Repository, tags: list[str]) -> dict[str, Any]:
        environment, _ = places.canonical(self.stack.policy, place)
        return {
            "registry": str(place.registry),
            "repository": place.name,
            "environment": environment,
            "tags": tags,
        }

    def built(self) -> dict[str, Any]:
        """What the image, and statements about it, say of its build; nobody has verified it. `commit`: null where none
        is named; `builds`: the builds that made it, each once."""
        facts = [f for each in (self.image.facts, *self.image.platforms.values()) for f in each]
        said = record.built(facts)
        names = {"commit": "revision", "source": "source", "version": "version", "author": "authors"}
        builds = {b["id"]: dict(b) for r in Referred.of(f for f in facts if f.kind is Kind.REFERRED) if (b := r.build)}
        return {**{key: said.get(name) for key, name in names.items()}, "builds": list(builds.values())}

    def verified(self) -> dict[str, Any]:
        """The newest verification in this repository, else anywhere; verdict null where there is none."""
        return record.verification_row(record.newest_verification(self.image.facts, self.place))

    def scan(self, platforms: list[PlatformImage]) -> dict[str, Any]:
        """The newest scan; of an index the worst of its platforms' (`record.worst`). Status null where none is
        recorded."""
        names = {p.digest: str(p.platform) for p in platforms}
        if self.digest in names or not platforms:
            return {**record.scan_row(record.newest_scan(self.image.facts, self.place)), "platforms": []}
        each = []
        for digest, name in names.items():
            row = record.scan_row(record.newest_scan(self.facts_of(digest), self.place))
            each.append({"digest": digest, "platform": name, **row})
        return {**record.worst(each), "platforms": each}

    def promotions(self) -> list[dict[str, Any]]:
        """The last decision on each promotion of the image, as `record.decisions`."""
        return record.decisions(self.image.facts)


def _require_whole(error: TallymanError | None) -> None:
    """Raise the error if it says that bytes are damaged, and not that they could not be read."""
    if isinstance(error, DigestMismatch | BadManifest):
        raise error
