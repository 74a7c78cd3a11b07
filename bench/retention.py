"""Measure time and memory of a retention plan: 10,000, 100,000 and 1,000,000 images of one repository.

Image graphs of an index with two platform images and an attestation, layers shared between versions, signatures, images
with twenty tags, some in use and some released. Each size runs in a process of its own, so that its peak of memory is
its own. Prints a line for each size: `1,000,000 images <seconds of the plan> s <peak memory> MB`.
"""

import argparse
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tallyman.adapters.ecr.source import EcrSource
from tallyman.adapters.files.policy_file import loads
from tallyman.domain.images.manifest import OCI_INDEX, OCI_MANIFEST
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.retention import Inventory, Reading, RetentionInputs, plan_retention
from tallyman.domain.retention.inputs import Release
from tallyman.domain.usage import Use
from tallyman.services.retention.inventory import TakeInventory

NOW = datetime(2026, 11, 16, tzinfo=UTC)
PLACE = Repository(EcrRegistry("111111111111", "us-east-2"), "rocketseat/widget-server")
SIZES = (10_000, 100_000, 1_000_000)
POLICY = b"""
environments:
  dev: {registries: [111111111111/us-east-2]}
repositories:
  - match: rocketseat/*
    retention:
      keep: [{newest: 50, of: semver}, {newest: 2, of: [semver, semver-commit], per: minor}, {newer_than: 30d},
             {tag: "stable-*"}, {matches: "release-[0-9]+"}]
      at_least: 10
      untagged: {remove_after: 7d}
      pulled_within: 14d
      at_most: 100%
"""


def digest(number: int) -> str:
    """The digest of a number."""
    return "sha256:" + hashlib.sha256(number.to_bytes(8, "big")).hexdigest()


def tags(random_: random.Random, family: int) -> Iterator[str]:
    """The tags of one image graph: mostly a version or a version with its commit; every fiftieth has twenty tags, some
    have none."""
    major, minor, patch = family % 7, family // 7 % 90, family // 630
    kind = random_.random()
    if kind < 0.45:
        yield f"v{major}.{minor}.{patch}"
    elif kind < 0.9:
        yield f"v{major}.{minor}.{patch}-{family:07x}"
    elif kind < 0.95:
        yield f"stable-{family}"
    if family % 50 == 0:
        for number in range(19):
            yield f"build-{family}-{number}"


def fill(inventory: Inventory, count: int) -> None:
    """Add image graphs of five images until there are `count` images."""
    random_ = random.Random(1)
    family = number = 0
    base = [(digest(10**12 + n), 30_000_000) for n in range(200)]
    while number < count:
        pushed = int((NOW - timedelta(seconds=400 * 86400 * (1 - number / count))).timestamp() * 1000)
        own = [digest(number + n) for n in range(5)]
        lineage = base[family % 40 * 5 : family % 40 * 5 + 5]
        for n, child in enumerate(own[:3]):
            row = inventory.add_raw(child, (), pushed, 40_000_000)
            blobs = [] if n == 2 else lineage
            top = [(digest(2 * 10**12 + number + n + k * 10**9), 1_000_000) for k in range(3)]
            inventory.hold(row, [*blobs, *top])
        row = inventory.add_raw(own[3], tags(random_, family), pushed + 1000, 80_000_000, is_index=True)
        inventory.link(row, own[:3])
        row = inventory.add_raw(own[4], (), pushed + 2000, 1000, subject=own[3])
        inventory.hold(row, [(digest(3 * 10**12 + number), 1000)])
        number += 5
        family += 1


def measure(count: int) -> None:
    """Measure one size in this process."""
    inventory = Inventory(PLACE)
    begun = time.perf_counter()
    fill(inventory, count)
    filled = time.perf_counter()
    rows = range(3, len(inventory), max(5, count // 500 // 5 * 5))
    uses = [
        Use("ecs task", f"web/{r}", PLACE.at(inventory.digest(r)), PLACE.registry, PLACE, None, inventory.digest(r - 1))
        for r in rows
    ]
    facts = RetentionInputs(releases={inventory.digest(r): (Release("prod", NOW - timedelta(days=40)),) for r in rows})
    policy = loads(POLICY)
    started = time.perf_counter()
    plan = plan_retention(policy, inventory, [Reading("ECS", PLACE.registry, NOW, tuple(uses))], facts, NOW)
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(inventory):,} images {ended - started:.2f} s {peak:.0f} MB", flush=True)
    print(
        f"  inventory in {filled - begun:.2f} s; {len(plan.removed):,} to go, {plan.freed_bytes / 1e9:,.0f} GB freed",
        file=sys.stderr,
        flush=True,
    )


class Counting:
    """boto3's client for the local ECR in place of `Clients`; counts its requests."""

    def __init__(self, port: int) -> None:
        import boto3  # here, so that it does not add to the sizes' peaks

        self.made: Counter[str] = Counter()
        self._client = boto3.client(
            "ecr",
            region_name=PLACE.registry.region,
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=PLACE.registry.account,
            aws_secret_access_key="local",
        )
        self._client.meta.events.register("before-send.ecr", self._count)

    def _count(self, event_name: str, **_: object) -> None:
        self.made[event_name.rpartition(".")[2]] += 1

    def get(self, *_: object) -> object:
        """The one client."""
        return self._client


@contextmanager
def local_ecr(count: int) -> Iterator[Counting]:
    """A local ECR with so many images: graphs of an index with two platforms and an attestation, and a signature, as in
    `fill`; with the manifests of a real build."""
    from tallyman_local.ecr import Callbacks, Identity, LocalEcr
    from tallyman_local.server.http import Listener

    place, endpoint = PLACE.registry, "http://localhost"
    with tempfile.TemporaryDirectory() as folder:
        ecr = LocalEcr(
            Path(folder),
            Callbacks(
                clock=lambda: NOW,
                emit=lambda *_: None,
                trail=lambda _: None,
                endpoint_of=lambda _: endpoint,
                identify=lambda key: Identity(key, f"arn:aws:iam::{key}:user/bench", "AIDABENCH"),
            ),
        )
        listener = Listener(ecr.api_app(), threads=2)
        listener.start()
        try:
            counting = Counting(listener.port)
            counting.get().create_repository(repositoryName=PLACE.name)  # type: ignore[attr-defined]
            counting.made.clear()
            row = ecr.store.repositories(place)[0]
            blob = str(ecr.store.add_blob(row, b"{}"))
            ecr.put_images(place, PLACE.name, manifests(count, blob))
            yield counting
        finally:
            listener.stop()
            ecr.close()


def manifests(count: int, blob: str) -> Iterator[tuple[bytes, str | None]]:
    """Manifests and tags of so many images, children before their index."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob, "size": 2}
    layers = [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": blob, "size": 2}]
    for family in range(count // 5):
        listed = []
        for name in ("amd64", "arm64", "attestation"):
            own = {"family": str(family), "name": name}
            raw = manifest(config=config, layers=layers, annotations=own)
            listed.append({"mediaType": OCI_MANIFEST, "digest": str(Digest.of(raw)), "size": len(raw)})
            yield raw, None
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
        yield raw, f"v1.{family}.0"
        subject = {"mediaType": OCI_INDEX, "digest": str(Digest.of(raw)), "size": len(raw)}
        yield manifest(config=config, layers=layers, subject=subject), None


def manifest(**members: object) -> bytes:
    """An image's manifest."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **members}).encode()


class Nothing:
    """An empty archive."""

    def put(self, folder: str, raw: bytes) -> Digest:
        """Is never called."""
        raise NotImplementedError

    def get(self, folder: str, digest: Digest) -> bytes | None:
        """Return None."""
        return None


def calls(count: int) -> None:
    """Count the API calls for the inventory of so many images: on the local ECR, over HTTP, through boto3 and our
    adapter."""
    with local_ecr(count) as counting:
        source = EcrSource(counting, None)  # type: ignore[arg-type]
        inventory = TakeInventory(loads(POLICY), source, Nothing()).of(PLACE)
        assert len(inventory) == count
        assert len(inventory.children) == count // 5
        each = ", ".join(f"{number} {name}" for name, number in sorted(counting.made.items()))
        print(f"{count:,} images {counting.made.total()} API calls ({each})", flush=True)


def main() -> None:
    """Measure every size, or the given one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, help="only this size, in this process")
    parser.add_argument("--calls", type=int, help="only the calls for so many images")
    given = parser.parse_args()
    if given.calls:
        calls(given.calls)
        return
    if given.images:
        measure(given.images)
        return
    calls(SIZES[0])
    for size in SIZES:
        subprocess.run([sys.executable, __file__, "--images", str(size)], check=True)


if __name__ == "__main__":
    main()
