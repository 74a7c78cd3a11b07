"""People's actions in a run over a chain dev → staging → prod, fixed before the run: the same for every schedule.

The script of a seed does not depend on faults, so that a run with faults can be compared with one without, and can be
shortened by leaving actions out.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from support.fakes.policies import parsed
from support.images.builders import DEV, PROD, PROD_SA, Built, image, index, signature
from support.schedules.simulation import Simulation
from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.errors import NotFound, TagTaken

STAGING = Repository.parse("333333333333/us-east-2/rocketseat/widget-server")
CHAIN = (STAGING, PROD, PROD_SA)
IMAGES: tuple[Built, ...] = (
    *(image(f"version {n}") for n in range(4)),
    index(image("six", architecture="amd64"), image("six", architecture="arm64")),
    image("version 5"),
)
GATED = {"verified": True, "scan": {"max": {"critical": 0}}}
BENIGN = ("push", "push", "push", "scan", "scan", "approve", "latest", "sweep", "deploy", "sign")
"""Acts after which the end is the same, whatever went wrong meanwhile."""
STOPS = ("freeze", "thaw", "recall", "deny", "roll back", "bad scan", "override")
HANDS = ("untag", "delete", "drop", "hand tag", "hand latest", "hand removal", "unsign")


def chain(retention: bool = False, **more: Any) -> Policy:
    """dev → staging → prod (two regions), semver and a `latest` that may move; `more`: gates of the last hop."""
    rule: dict[str, Any] = {
        "match": "rocketseat/*",
        "create": {"immutable": True, "mutable_tags": ["latest"]},
        "verify": {"layers": "content"},
        "promotions": [
            {"from": "dev", "to": "staging", "tags": ["semver", "latest"], "gates": GATED},
            {"from": "staging", "to": "prod", "tags": ["semver", "latest"], "gates": {"verified": True, **more}},
        ],
    }
    if retention:
        rule["retention"] = {"keep": [{"newest": 2, "of": "semver"}], "grace": "0s", "at_most": "100%", "enforce": True}
        rule["retention"]["at_least"] = 2
    environments = {"dev": (DEV,), "staging": (STAGING,), "prod": (PROD, PROD_SA)}
    data = {
        "environments": {n: {"registries": [str(p.registry) for p in at]} for n, at in environments.items()},
        "people": {"recall": ["role/release-managers"]},
        "repositories": [rule],
    }
    return replace(parsed(data), raw=json.dumps(data).encode())  # another policy has another digest


APPROVED = {"approvals": {"count": 1, "from": ["role/release-managers"]}}


@dataclass(frozen=True)
class Step:
    """One action: its kind, its image, another image, and the seconds until the next one."""

    act: str
    image: int
    other: int
    gap: float


@dataclass(frozen=True)
class Script:
    """People's actions, in order, and the policy at the start."""

    steps: tuple[Step, ...]
    policy: Policy
    newer: Policy

    @property
    def is_benign(self) -> bool:
        """Whether the end does not depend on the speed of Tallyman."""
        return all(step.act in BENIGN for step in self.steps) and not self.policy.repository(DEV.name).retention.removes

    def without(self, numbers: Sequence[int]) -> "Script":
        """The same script with some actions left out."""
        return Script(tuple(s for n, s in enumerate(self.steps) if n not in numbers), self.policy, self.newer)


def written(seed: int) -> Script:
    """The script of a seed: every third has only benign actions; every second one has gates for people."""
    drawn = random.Random(f"people of {seed}")
    acts = BENIGN if seed % 3 == 0 else (*BENIGN, *BENIGN, *STOPS, *STOPS, *HANDS)
    retention = seed % 3 != 0 and seed % 2 == 0
    if retention:
        acts = (*acts, *["retention"] * 6)
    steps = [Step("push", 0, 0, 0.5)]
    for _ in range(6 + drawn.randrange(10)):
        gap = drawn.choice([0.1, 1, 4, 20, 60, 400])
        steps.append(Step(drawn.choice(acts), drawn.randrange(len(IMAGES)), drawn.randrange(len(IMAGES)), gap))
    policies = [chain(retention), chain(retention, **APPROVED)]
    drawn.shuffle(policies)
    return Script(tuple(steps), *policies)


class People:
    """Carries out a script. `touched`: digests that people changed in targets, which the laws ignore there."""

    def __init__(self, sim: Simulation) -> None:
        self.sim, self.requests, self.pushed = sim, 0, 0
        self.touched: set[str] = set()
        self.denied: set[str] = set()

    def do(self, step: Step, newer: Policy) -> None:
        """Carry out one action, as far as it is possible."""
        acts: Mapping[str, Callable[[Step], None]] = {
            "push": self._push,
            "scan": lambda s: self._scanned(s.image, 0),
            "bad scan": lambda s: self._scanned(s.image, 1),
            "approve": lambda s: self._ask("approve", s.image),
            "deny": lambda s: self._ask("deny", s.image),
            "override": lambda s: self._ask("override", s.image, gate="scan"),
            "recall": lambda s: self._command("recall", digest=IMAGES[s.image].digest),
            "freeze": lambda s: self._command("freeze", environment="prod"),
            "thaw": lambda s: self._command("thaw", environment="prod"),
            "roll back": lambda s: self._command(
                "roll-back", digest=IMAGES[s.image].digest, repository=DEV.name, environment="prod"
            ),
            "latest": self._latest,
            "sweep": lambda s: self.sim.reconcile(),
            "deploy": lambda s: self.sim.deploy(newer),
            "sign": lambda s: self._sign(s.image),
            "unsign": self._unsign,
            "untag": lambda s: self.sim.untag(f"v1.{s.image}.0"),
            "delete": lambda s: self._delete(DEV, s.image),
            "drop": lambda s: self._drop(),
            "hand tag": self._hand_tag,
            "hand latest": self._hand_latest,
            "hand removal": self._hand_removal,
            "retention": lambda s: self.sim.send("retention", {"repository": str(DEV)}),
        }
        with suppress(TagTaken, NotFound):  # ECR's refusal to a client
            acts[step.act](step)

    def _push(self, step: Step) -> None:
        """Push the next version."""
        if self.pushed < len(IMAGES):
            self.sim.push(IMAGES[self.pushed], f"v1.{self.pushed}.0")
            self.pushed += 1

    def _latest(self, step: Step) -> None:
        if step.image < self.pushed and IMAGES[step.image].digest in self.sim.registries.held(DEV).manifests:
            self.sim.push(IMAGES[step.image], "latest")

    def _scanned(self, number: int, critical: int) -> None:
        if number < self.pushed:
            self.sim.scanned(IMAGES[number], {"critical": critical} if critical else None)

    def _ask(self, name: str, number: int, **more: str) -> None:
        if name == "deny":
            self.denied.add(IMAGES[number].digest)
        door = {"from": "staging", "to": "prod"} if name != "override" else {"from": "dev", "to": "staging"}
        self._command(name, digest=IMAGES[number].digest, repository=DEV.name, **door, **more)

    def _command(self, name: str, **what: str) -> None:
        self.requests += 1
        self.sim.command(name, f"{name}-{self.requests}", 0.0, **what)

    def _sign(self, number: int) -> None:
        if number < self.pushed:
            self.sim.push(signature(IMAGES[number]), None)

    def _unsign(self, step: Step) -> None:
        digest = signature(IMAGES[step.image]).digest
        if digest in self.sim.registries.held(DEV).manifests:
            self.sim.registries.delete(DEV, digest)

    def _delete(self, place: Repository, number: int) -> None:
        digest = IMAGES[number].digest
        if digest in self.sim.registries.held(place).manifests:
            for tag in [t for t, of in self.sim.registries.held(place).tags.items() if of == digest]:
                self.sim.untag(tag, place)

    def _drop(self) -> None:
        self.sim.registries.drop(DEV)
        self.sim.registries.add(DEV)

    def _hand_tag(self, step: Step) -> None:
        """Push another image under a version's tag to one region, or to staging, with `docker push`."""
        place = CHAIN[step.other % len(CHAIN)]
        self.sim.push(image(f"by hand {step.other}"), f"v1.{step.image}.0", place)
        self.touched |= {IMAGES[step.image].digest, *image(f"by hand {step.other}").manifests}

    def _hand_latest(self, step: Step) -> None:
        place, built = CHAIN[step.other % len(CHAIN)], IMAGES[step.image]
        self.sim.push(built, "latest", place)
        self.touched |= {"latest", built.digest}

    def _hand_removal(self, step: Step) -> None:
        place = CHAIN[step.other % len(CHAIN)]
        self.touched |= {IMAGES[step.image].digest, "latest"}
        self._delete(place, step.image)


def act(sim: Simulation, script: Script) -> People:
    """Carry out the script; the system works meanwhile, and late events stay late."""
    people = People(sim)
    for step in script.steps:
        people.do(step, script.newer)
        sim.go_on(step.gap)
    return people


def heal(sim: Simulation, people: People, script: Script) -> None:
    """No more faults; complete everything open: scans, approvals, ends of freezes, deployments."""
    sim.deploy(script.newer)
    sim.settle()
    people.do(Step("thaw", 0, 0, 0), script.newer)
    held = sim.registries.held(DEV).manifests
    for _ in range(2):
        for built in IMAGES:
            if built.digest in held:
                sim.scanned(built)
        for _ in range(3):
            sim.now += timedelta(minutes=16)
            sim.reconcile()
            sim.settle()
        for number, built in enumerate(IMAGES):
            if built.digest in held and built.digest not in people.denied:
                people.do(Step("approve", number, 0, 0), script.newer)
        sim.settle()
    for _ in range(3):
        sim.now += timedelta(minutes=16)
        sim.reconcile()
        sim.settle()
