"""Runs: people's actions, drawn from the seed, and the end of a run; and the shortest run that still fails."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from unittest.mock import patch

from support.fakes.promotion import replicated
from support.fakes.recording import policy
from support.images.builders import PROD_SA, Built, image, index
from support.schedules import laws
from support.schedules.choices import Choices
from support.schedules.simulation import CALM, Faults, Simulation
from support.schedules.workers import Act
from tallyman.errors import TagTaken
from tallyman.services.shared import lease

SINGLE = tuple(image(f"app {n}") for n in range(3))
INDEX = index(image("both", architecture="amd64"), image("both", architecture="arm64"))
IMAGES: tuple[Built, ...] = (*SINGLE, INDEX)
PROFILES = (
    Faults(),
    Faults(lose=0, double=2, again=3, late=2, crash=0, fail=0, pause=30, skew=0),  # much at once, and slow
    Faults(lose=2, double=0, crash=0, fail=0, pause=0, again=0),  # events are lost
    Faults(lose=0, double=0, crash=12, fail=0, pause=40, again=0),  # processes die
    Faults(lose=0, double=4, crash=0, fail=10, pause=20, again=0),  # AWS does not answer
)
"""What goes wrong most in a run; the seed says which."""
RECALLED_AFTER = 2.0
"""Seconds after the scan: a promotion is done by then, unless it sleeps; its leases still hold."""
MOST = 90
"""Calls of a worker that are tried; a sweep has hundreds of the same kind."""
WORKERS = 28
"""Workers of the story that do its work; those that come after only sweep."""
GATES = {"verified": True, "scan": {"max": {"critical": 0}}}


@dataclass(frozen=True)
class Result:
    """The end of a run. `broken`: the law that it broke; `made`: the choices that reproduce it."""

    seed: int
    broken: str | None
    made: tuple[int, ...]
    log: tuple[str, ...]
    steps: int
    count: dict[str, int]


@contextmanager
def no_renewals() -> Iterator[None]:
    """Leases are not renewed by threads in real time: a paused worker is paused with all its threads."""
    with patch.object(lease, "RENEWED", 3600.0):
        yield


def run(seed: int, script: Sequence[int] | None = None, faults: Faults | None = None, native: bool = False) -> Result:
    """Carry out one run. `native`: ECR replicates to the second registry, late, in part or not at all."""
    choices = Choices(seed, script)
    rules = replicated(policy(**GATES)) if native else policy(**GATES)
    sim = Simulation(rules, choices, faults or PROFILES[seed % len(PROFILES)])
    if native and choices.below(4) == 0:
        sim.replication.fails[PROD_SA.registry] = "AccessDenied"
    if native and choices.below(3) == 0:
        sim.replication.drops.add(PROD_SA.registry)
    sim.watch = laws.Laws()
    broken = None
    with no_renewals():
        try:
            _act(sim)
            _heal(sim)
            laws.hold(sim)
        except AssertionError as error:
            broken = str(error)
    return Result(seed, broken, tuple(choices.made), tuple(sim.log), sim.steps, dict(sim.count))


class Meanwhile(StrEnum):
    """People's actions while the first image of the story is promoted."""

    NOTHING = "nothing"
    RECALL = "it is recalled"
    BAD_SCAN = "a scan finds something critical"
    HAND_TAG = "somebody pushes another image under its tag"
    NEWER = "a newer version goes all the way"


def story(
    planned: Mapping[tuple[int, int], Act | None], meanwhile: Meanwhile = Meanwhile.NOTHING
) -> tuple[Result, dict[int, int]]:
    """One image's promotion and a second one's, every event delivered twice, with one fault at a known place. Returns
    the result, and the number of calls that each worker made."""
    choices = Choices(0, ())
    sim = Simulation(policy(**GATES), choices, CALM, most=3, planned=planned)
    sim.watch = laws.Laws()
    calls: dict[int, int] = {}
    sim.ended = lambda worker: calls.update({worker.number: worker.calls})
    broken = None
    with no_renewals():
        try:
            alone = meanwhile in (Meanwhile.BAD_SCAN, Meanwhile.RECALL)  # no other promotion takes over the lease
            for number, built in enumerate(SINGLE[:1] if alone else (SINGLE[0], INDEX)):
                for _ in range(2):
                    sim.push(built, f"v1.{number}.0")
                for _ in range(40):
                    sim.step()
                for _ in range(2):
                    sim.scanned(built)
                if meanwhile is Meanwhile.RECALL and number == 0:
                    sim.command("recall", "recall", after=RECALLED_AFTER, digest=built.digest)
                if meanwhile is not Meanwhile.NOTHING and number == 0:
                    sim.go_on(RECALLED_AFTER)
                    _interfere(sim, meanwhile)
                    sim.go_on(20.0)
                sim.now += timedelta(seconds=1)
            sim.settle()
            _heal(sim)
            laws.hold(sim)
        except AssertionError as error:
            broken = str(error)
    return Result(0, broken, (), tuple(sim.log), sim.steps, dict(sim.count)), calls


def _interfere(sim: Simulation, meanwhile: Meanwhile) -> None:
    """People's actions while the promotion of the first image sleeps."""
    if meanwhile is Meanwhile.BAD_SCAN:
        sim.scanned(SINGLE[0], {"critical": 1})
    elif meanwhile is Meanwhile.HAND_TAG:
        with suppress(TagTaken):
            sim.push(image("by hand"), "v1.0.0", PROD_SA)
    elif meanwhile is Meanwhile.NEWER:
        sim.go_on(10.0)  # by then the sleeping worker's lease has expired
        sim.push(SINGLE[1], "v2.0.0")
        sim.go_on(5.0)
        sim.scanned(SINGLE[1])


def systematic(
    act: Act | None, meanwhile: Meanwhile = Meanwhile.NOTHING, workers: int = WORKERS
) -> Iterator[tuple[tuple[int, int], Result]]:
    """Repeat the story with this fault at each call of each of its first workers in turn."""
    _, calls = story({}, meanwhile)
    for worker, number in sorted(calls.items()):
        for call in range(1, min(number, MOST)) if worker <= workers else ():
            yield (worker, call), story({(worker, call): act}, meanwhile)[0]


def asleep(worker: int, calls: Iterable[int], meanwhile: Meanwhile) -> Iterator[tuple[int, Result]]:
    """The story with this worker asleep at each of these calls."""
    for call in calls:
        yield call, story({(worker, call): None}, meanwhile)[0]


def recalled_undecided(calls: Iterable[int]) -> Iterator[tuple[int, Result]]:
    """The story with the promotion asleep at each of these calls, while its image is recalled by a worker that records
    the recall and sleeps before it evaluates: no recorded decision forbids the promotion."""
    for call in calls:
        yield call, story({(PROMOTION, call): None, (RECALLING, BEFORE_DECIDING): None}, Meanwhile.RECALL)[0]


RECALLING, BEFORE_DECIDING = 8, 5
"""The worker of the story that records the recall, and a call of it between that and its decision."""
PROMOTION = 7
"""The worker of the story that promotes the first image, if people act meanwhile."""
WAKEFUL = range(20, 36)
"""Its calls from the staging to the write that moves the release."""


def missed(seeds: int) -> Iterator[str | None]:
    """The laws broken in the story with sleeping workers, then with crashes, then in a number of seeded runs."""
    for meanwhile in (Meanwhile.BAD_SCAN, Meanwhile.HAND_TAG, Meanwhile.NEWER):
        for call, result in asleep(PROMOTION, WAKEFUL, meanwhile):
            yield result.broken and f"the promotion asleep at its call {call}, {meanwhile}: {result.broken}"
    for call, result in recalled_undecided(WAKEFUL):
        yield result.broken and f"the promotion asleep at its call {call}, recalled: {result.broken}"
    sleepers = [(None, each) for each in (Meanwhile.NOTHING, Meanwhile.RECALL)]
    for act, meanwhile in (*sleepers, (Act.CRASH_BEFORE, Meanwhile.NOTHING), (Act.CRASH_AFTER, Meanwhile.NOTHING)):
        for (worker, call), result in systematic(act, meanwhile, workers=8):
            yield result.broken and f"{act or 'asleep'} at call {call} of worker {worker}: {result.broken}"
    for seed in range(seeds):
        result = run(seed)
        yield result.broken and f"seed {seed}: {result.broken}"


def _act(sim: Simulation) -> None:
    """People act while the system works."""
    choices, pushed = sim.choices, 0
    for _ in range(3 + choices.below(6)):
        kind = choices.of(["push", "push", "scan", "scan", "sweep", "recall", "untag", "push again"])
        if kind == "push" and pushed < len(IMAGES):
            sim.push(IMAGES[pushed], f"v1.{pushed}.0")
            pushed += 1
        elif kind == "push again" and pushed:
            with suppress(TagTaken):  # ECR's refusal to a client
                sim.push(IMAGES[choices.below(pushed)], f"v2.{choices.below(3)}.0")
        elif kind == "scan" and pushed:
            sim.scanned(IMAGES[choices.below(pushed)])
        elif kind == "recall" and pushed:
            sim.command("recall", f"recall-{sim.steps}", digest=IMAGES[choices.below(pushed)].digest)
        elif kind == "untag" and pushed:
            sim.untag(f"v1.{choices.below(pushed)}.0")
        elif kind == "sweep":
            sim.reconcile()
        for _ in range(choices.of([0, 20, 100, 400])):
            if not sim.step():
                break
        sim.now += timedelta(seconds=choices.of([1, 2, 60]))


def _heal(sim: Simulation) -> None:
    """No more faults: everything in progress ends, scans are complete, and scheduled sweeps run."""
    sim.faults = CALM
    sim.settle()
    for built in IMAGES:
        sim.scanned(built)
    for _ in range(6):
        sim.now += timedelta(minutes=16)
        sim.reconcile()
        sim.settle()


def shortened(result: Result, tries: int = 400, native: bool = False) -> Result:
    """The same fault with as few choices other than the calmest as can be found. `native`: as in the original run."""
    best = result
    size = max(1, len(best.made) // 2)
    while size and tries:
        start = 0
        while start < len(best.made) and tries:
            script = [*best.made[:start], *([0] * size), *best.made[start + size :]]
            if any(best.made[start : start + size]):
                tries -= 1
                again = run(best.seed, script, native=native)
                if again.broken:
                    best = again
            start += size
        size //= 2
    return best
