"""An in-memory stack with some weeks of history: three environments, several repositories, people, findings, a freeze.

Everything in it was written by the real services. The pictures of docs/ show it.
"""

import json
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from support.fakes.cli_stack import FakeStack
from support.fakes.ports import FakeClock
from support.images.builders import Built, attestation, big_layer, image, index, push_event, signature
from tallyman.adapters.files import policy_file
from tallyman.domain.history.facts import Via
from tallyman.domain.images.details import Finding, ScanReport
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.times import format_time
from tallyman.domain.usage import Use
from tallyman.state import sweeps
from tallyman.state.items import StateChange
from tallyman_cli.shared import context

HUB = EcrRegistry.parse("111111111111/us-east-2")
NOW = datetime(2026, 11, 27, 15, 30, 0, tzinfo=UTC)
POLICY = """\
# Three environments: what is verified and clean goes to staging by itself, to production with a person's word.
environments:
  dev:     {registries: [111111111111/us-east-2]}
  staging: {registries: [333333333333/us-east-2]}
  prod:    {registries: [222222222222/us-east-2, 222222222222/sa-east-1]}
repositories:
  - match: rocketseat/*
    create: {immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true}
    tags:   {allow: [semver, semver-commit, latest]}
    verify: {layers: content, platforms: [linux/amd64, linux/arm64]}
    promotions:
      - {from: dev, to: staging, tags: [semver, semver-commit], gates: {verified: true, scan: {max: {critical: 0}}}}
      - from: staging
        to: prod
        tags: [semver, semver-commit]
        gates:
          verified: true
          scan: {max: {critical: 0}}
          soak: 24h
          approvals: {count: 1, from: [role/release-managers]}
    retention:
      keep: [{newest: 2, of: semver-commit}, {newer_than: 5d}, {tag: latest}]
      grace: 1d
      at_most: 100%
"""


class Showcase:
    """The stack, and short methods for what happens in it."""

    def __init__(self) -> None:
        policy = policy_file.loads(POLICY.encode()).for_hub(HUB)
        self.system = FakeStack(policy, clock=FakeClock(NOW - timedelta(days=21)))
        self.system.people.ids = {"role/release-managers": "AROAMANAGERS"}
        self._delivered = 0

    def place(self, name: str) -> Repository:
        """The repository to which developers push."""
        return Repository(HUB, f"rocketseat/{name}")

    def at(self, days: float) -> None:
        """Advance to this many days before the end."""
        self.system.clock.now = max(self.system.clock.now, NOW - timedelta(days=days))

    def release(self, name: str, tag: str, size: int = 40_000, *, latest: bool = True, clean: bool = True) -> Built:
        """Push for two platforms with an attestation each, and scan."""
        place = self.place(name)
        if place not in set(self.system.registries._held):
            self.system.registries.add(place)
        base = big_layer(90_000, 7)
        commit = tag.rpartition("-")[2]
        labels = {
            "org.opencontainers.image.source": f"https://github.com/rocketseat/{name}",
            "org.opencontainers.image.revision": commit,
            "org.opencontainers.image.authors": "Rocketseat <team@example.com>",
            "org.opencontainers.image.version": tag,
        }
        notes = {k: v for k, v in labels.items() if "version" not in k}
        images = [
            image(base, big_layer(size + n, hash_of(name, tag, n)), architecture=a, labels=labels, annotations=notes)
            for n, a in enumerate(("amd64", "arm64"))
        ]
        built = index(*images, *(attestation(each) for each in images), annotations=notes)
        self.system.clock.advance(seconds=1)
        self.system.push(built, tag, place)
        if latest:
            self.system.push(built, "latest", place)
        self.system.push(signature(built), None, place)
        if clean:
            self.scan(built, place)
        self.settle()
        return built

    def scan(self, built: Built, place: Repository, *findings: Finding) -> None:
        """Complete the scan of every platform."""
        counts: dict[str, int] = {}
        for finding in findings:
            counts[finding.severity] = counts.get(finding.severity, 0) + 1
        self.system.clock.advance(seconds=20)
        for child in built.root.platform_children:
            report = ScanReport("complete", counts, findings, self.system.clock())
            self.system.service("record_scan").record(place, child.digest, report, Via.EVENT)
            self.system.services.evaluator.digest(child.digest)
        self.settle()

    def settle(self) -> None:
        """Let the functions work, and deliver the events of their own pushes."""
        w = self.system
        for _ in range(8):
            w.work()
            fresh = w.registries.pushes[self._delivered :]
            self._delivered = len(w.registries.pushes)
            for place, digest, tag in fresh:
                if place.registry != HUB:
                    event = push_event(place, digest, tag or "", at=w.clock())
                    w.service("record_push").handle(json.dumps(event))
                    w.service("verify_digest").handle(json.dumps(event), lambda: float("inf"))
            if not fresh and not w.hints.sent:
                return

    def say(self, *words: str, who: str = "AROAMANAGERS:ana") -> None:
        """Send a person's command."""
        self.system.sender = who
        with patch.object(context, "connect", lambda stack=None, policy=None: self.system.stack):
            result = self.system.run(*words)
        assert result.exit_code == 0, result.output
        self.settle()

    def time_passes(self, hours: float) -> None:
        """Evaluate again whatever waits for time."""
        self.system.clock.advance(hours=hours)
        for environment in ("staging", "prod"):
            for item in self.system.state.list(f"P#{environment}"):
                self.system.services.evaluator.digest(Digest(item.sk.split("@")[1]))
        self.settle()

    def swept(self) -> None:
        """Run a sweep that counts the registries' contents."""
        for held in self.system.registries._held.values():
            size = sum(m.size or 0 for m in held.manifests.values())
            data = {"swept": format_time(self.system.clock()), "images": len(held.manifests), "bytes": size * 2_000}
            key = sweeps.key(held.settings.repository)
            item = self.system.state.get(*key)
            self.system.state.put(StateChange(*key, item.revision if item else 0, data))


def hash_of(*parts: object) -> int:
    """A digest from a seed."""
    return int(Digest.of(repr(parts).encode()).hex[:8], 16)


def showcase() -> Showcase:
    """Build the showcase."""
    s = Showcase()
    openssl = Finding("CVE-2026-40123", "critical", "openssl", fix=True, exploit=True)
    zlib = Finding("CVE-2026-21877", "medium", "zlib", fix=False)
    s.at(20)
    for number, (name, tag) in enumerate(
        (
            ("widget-server", "v1.0.0-3f2a91c"),
            ("checkout", "v2.3.0-77d0c1e"),
            ("catalog", "v0.9.0-1b4e0aa"),
            ("mailer", "v4.1.2-c0ffee1"),
        )
    ):
        s.at(20 - number * 0.2)
        s.release(name, tag, 40_000 + 9_000 * number)
    s.time_passes(25)
    first = {"widget-server": "v1.0.0-3f2a91c", "checkout": "v2.3.0-77d0c1e", "mailer": "v4.1.2-c0ffee1"}
    for name, tag in first.items():
        s.say("approve", f"staging/rocketseat/{name}:{tag}", "--to", "prod", "--because", "looks good")
    for number, commit in enumerate(("4c1d9e0", "81f2ab7", "d35e006", "60a9c1f")):
        s.at(18 - 1.5 * number)
        refused = s.release("reports", f"v0.9.{number + 1}-{commit}", 60_000, latest=False, clean=False)
        s.scan(refused, s.place("reports"), openssl)
    s.at(14)
    s.release("widget-server", "v1.0.1-a81d2f0", 41_000)
    s.at(13.4)
    s.release("checkout", "v2.3.1-0be77e2", 51_000)
    s.time_passes(26)
    s.say("approve", "staging/rocketseat/widget-server:v1.0.1-a81d2f0", "--to", "prod", "--because", "fixes the cart")
    s.at(8)
    s.release("widget-server", "v1.1.0-5c9e14b", 47_000)
    s.at(6)
    bad = s.release("widget-server", "v1.2.0-e4d07f3", 48_000, clean=False)
    s.scan(bad, s.place("widget-server"), openssl, zlib)
    s.at(3)
    s.release("catalog", "v0.10.0-9aa31c4", 52_000)
    s.time_passes(30)
    s.say("freeze", "prod/rocketseat/checkout", "--because", "Black Friday: nothing moves until Monday")
    s.at(0.5)
    fixed = s.release("widget-server", "v1.2.1-b7f20d9", 48_500, clean=False)
    s.scan(fixed, s.place("widget-server"), zlib)
    s.at(0.1)
    s.release("mailer", "v4.2.0-ad0be11", 50_000, clean=False)
    s.say(
        "recall", f"dev/rocketseat/mailer@{digest_of(s, 'mailer', 'v4.1.2-c0ffee1')}", "--because", "it leaks addresses"
    )
    s.at(0)
    running = digest_of(s, "widget-server", "v1.0.1-a81d2f0")
    where = EcrRegistry.parse("222222222222/us-east-2")
    s.system.usage.uses = [Use("ecs task", "shop/widget-server", f"widget@{running}", where, digest=running)]
    s.swept()
    return s


def digest_of(s: Showcase, name: str, tag: str) -> Digest:
    """The digest of a tag of dev."""
    return s.system.registries.held(s.place(name)).tags[tag]
