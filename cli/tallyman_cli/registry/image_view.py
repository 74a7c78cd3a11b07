"""The data of `show`: the image as its manifests describe it, and as the ledger records it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tallyman.domain.costs import Prices
from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.details.referrers import Referred
from tallyman.domain.history.details.verifications import Verified
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.images.manifest import MAX_NESTING, Manifest, Platform
from tallyman.domain.images.verification import CONFIG_TYPES, MAX_CONFIG_BYTES, ImageConfig, PlatformImage
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.errors import DigestMismatch, NotFound, Refused, TallymanError, TransientError
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman_cli.shared import output
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import places, record


def costs(prices: Prices, shown: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an image (the form of `show --json`) costs in each registry that has it, where a price is known."""
    found = (prices.monthly(EcrRegistry.parse(where["registry"]), shown["size"] or 0) for where in shown["locations"])
    return [cost for cost in found if cost is not None]


@dataclass
class ImageView:
    """One image, read from one registry, and from archive and ledger where that can't be read. `known`: manifests that
    the registry gave before, which are not read again.

    Cost: a read for each other manifest of an index and its platform images, one for a single image's configuration, a
    Query for each platform.
    """

    stack: Stack
    text: str
    place: Repository
    digest: Digest
    known: Mapping[Digest, Manifest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._silent: TallymanError | None = None
        self.image = load_image_facts(self.stack.ledger, self.stack.state, self.digest)

    def as_data(self) -> dict[str, Any]:
        """The form of `show --json`. Raises NotFound; DigestMismatch where a manifest is damaged."""
        root = self._manifest(self.digest)
        if root is None:
            raise self._silent or NotFound(f"{self.text}: there is no image {self.digest} in {self.place}")
        platforms = self._platforms(root)
        locations = self.locations()
        tags = {tag for where in locations if where["registry"] == str(self.place.registry) for tag in where["tags"]}
        return {
            "image": self.text,
            "digest": self.digest,
            "media_type": root.media_type,
            "size": self._size(root, platforms),
            "platforms": [p.as_json() for p in platforms],
            "tags": sorted(tags or {tag for where in locations for tag in where["tags"]}),
            "registries": [where["registry"] for where in locations],
            "locations": locations,
            "built": self.built(),
            "verified": self.verified(),
            "scan": self.scan(platforms),
            "promotions": self.promotions(),
        }

    def facts_of(self, digest: Digest) -> Sequence[Fact]:
        """The facts of the image, or of a platform image beneath it. Cost: a Query for one whose facts were not read
        with the image."""
        if digest == self.digest:
            return self.image.facts
        return self.image.platforms.get(digest) or self.stack.ledger.of_digest(digest)

    def _manifest(self, digest: Digest) -> Manifest | None:
        """A manifest from the registry; from the archive where that does not answer, or no longer has it."""
        if digest in self.known:
            return self.known[digest]
        found: Manifest | None = None
        if self._silent is None:
            try:
                found = self.stack.source.manifest(self.place, digest)
            except (TransientError, Refused) as error:
                self._silent = error
                output.trouble(f"{self.place} can't be read ({error}): shown as it was recorded")
        if found is not None:
            if found.digest != digest:
                raise DigestMismatch(
                    f"{self.place} answers {found.digest} when asked for {digest}: it is damaged there"
                )
            return Manifest.parse(found.raw, found.media_type)
        raw = self.stack.archive.get("manifests", digest)
        if raw is None:
            return None
        media_type = next((f.media_type for f in self.image.facts if f.media_type and digest == self.digest), None)
        return Manifest.parse(raw, media_type)

    def _platforms(self, root: Manifest) -> list[PlatformImage]:
        if root.is_index:
            return self._children(root, MAX_NESTING)
        platform = self._own_platform(root)
        if platform is None or platform.unknown:
            return []
        return [PlatformImage(platform.os, platform.architecture, platform.variant, self.digest, root.size)]

    def _children(self, index: Manifest, depth: int) -> list[PlatformImage]:
        found: list[PlatformImage] = []
        for child in index.platform_children:
            manifest = self._manifest(child.digest)
            if manifest is not None and manifest.is_index:
                found += self._children(manifest, depth - 1) if depth > 1 else []
                continue
            platform = child.platform or Platform("unknown", "unknown")
            size = manifest.size if manifest is not None else None
            found.append(PlatformImage(platform.os, platform.architecture, platform.variant, child.digest, size))
        return found

    def _own_platform(self, image: Manifest) -> Platform | None:
        """The platform in the configuration; where that can't be read, the one that a verification read there."""
        config = image.config
        if config is None or config.media_type not in CONFIG_TYPES:
            return None
        if self._silent is None and config.size <= MAX_CONFIG_BYTES:
            try:
                with self.stack.source.open_blob(self.place, config.digest) as blob:
                    raw = b"".join(blob)
            except (TransientError, Refused) as error:
                output.trouble(f"the configuration of {self.place}@{self.digest} can't be read: {error}")
            else:
                if Digest.of(raw) != config.digest:
                    raise DigestMismatch(f"the configuration {config.digest} in {self.place} is damaged")
                return ImageConfig.parse(raw).platform
        for fact in reversed(list(self.image.of(Kind.VERIFIED))):
            for platform in Verified.parse(fact).platforms:
                return Platform(platform["os"], platform["architecture"], platform["variant"])
        return None

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
        if self._silent is not None or any(f.kind in PUSHES for f in self.image.facts):
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
        provenance: Mapping[str, str] = next(
            (c.built for c in Change.of(f for f in facts if f.kind in PUSHES) if c.built), {}
        )
        names = {"commit": "revision", "source": "source", "version": "version", "author": "authors"}
        builds = {b["id"]: dict(b) for r in Referred.of(f for f in facts if f.kind is Kind.REFERRED) if (b := r.build)}
        return {**{key: provenance.get(name) for key, name in names.items()}, "builds": list(builds.values())}

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
