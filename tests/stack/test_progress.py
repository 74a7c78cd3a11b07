"""Promotions that can't finish at once, on the deployed stack: regions that fail, workers that are killed."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from support.fakes.ports import listed
from support.images import builders as b
from support.stacks.deployed import Deployed, deployed, until
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Repository
from tallyman.state import pending as pending_items
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.failures import Failure
from tallyman_local.ecr.rules.images import Put
from tallyman_local.moto import calls as moto_calls


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), scanner="clean") as running:
        yield running


@pytest.fixture(autouse=True)
def healed(system: Deployed) -> Iterator[None]:
    yield
    system.cloud.failures.end()
    system.settle()


def fail(system: Deployed, number: int, **how: object) -> None:
    system.cloud.failures.set(system.stack.policy.environment("prod").registries[number - 1], Failure(**how))  # type: ignore[arg-type]


def tagged(system: Deployed, name: str) -> list[bool]:
    """Whether each registry of prod has v1.0.0, read from the store: a failing registry can't be asked."""
    found = []
    for place in system.stack.policy.environment("prod").repositories(name):
        try:
            system.cloud.ecr.resolve(place.registry, place.name, "v1.0.0")
        except EcrError:
            found.append(False)
        else:
            found.append(True)
    return found


def wait_for(true: Callable[[], object]) -> None:
    """Wait until it is true; checked whenever something happens in the cloud."""
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        with moto_calls.CHANGED:
            moto_calls.CHANGED.wait(0.2)


@pytest.mark.parametrize(
    ("number", "how"),
    [(1, {"status": 503}), (2, {"throttle": True}), (2, {"after_bytes": 50})],
    ids=["down", "throttled", "cut"],
)
def test_a_failing_region_prevents_all_tags_until_it_recovers(
    system: Deployed, number: int, how: dict[str, object]
) -> None:
    name, image = f"rocketseat/fails-{number}-{'-'.join(how)}".replace("_", "-"), b.image(f"{number}{how}")
    fail(system, number, **how)
    system.push(image, name, "v1.0.0", settle=False)
    wait_for(lambda: system.facts(image.digest, Kind.DELAYED))
    assert tagged(system, name) == [False, False]
    decision = system.why(name, "v1.0.0")
    assert decision.verdict == "waiting"
    assert decision.deciding is not None
    assert str(system.stack.policy.environment("prod").registries[number - 1]) in decision.deciding.reason
    other = system.place(name, "prod", 3 - number)
    system.cloud.ecr.resolve(other.registry, name, image.digest)  # raises if it is missing: it was staged all the same
    system.cloud.failures.end()
    system.reconcile(f"dev/{name}")
    assert until(lambda: tagged(system, name) == [True, True], "not promoted", system.cloud)
    assert until(lambda: system.why(name, "v1.0.0").verdict == "promoted", "not promoted", system.cloud)
    assert system.digests_in(name, "v1.0.0") == [image.digest] * 2
    delays = [f.detail["attempt"] for f in system.facts(image.digest, Kind.DELAYED)]
    assert delays == list(range(1, len(delays) + 1))
    assert len(system.facts(image.digest, Kind.PROMOTED)) == 1


def test_a_killed_worker_is_replaced_and_settle_waits_for_it(system: Deployed) -> None:
    name, image = "rocketseat/killed", b.image("killed")
    started = threading.Event()
    put = system.cloud.ecr._parts.images.put

    def slow(
        repository: Repository,
        raw: bytes,
        media_type: str | None,
        tag: str | None,
        digest: str | None,
        *,
        over_http: bool = False,
    ) -> Put:
        if str(repository).startswith("222222222222") and not started.is_set():
            started.set()
            assert system.cloud.kill("tallyman-promote-image")
        return put(repository, raw, media_type, tag, digest, over_http=over_http)

    system.cloud.ecr._parts.images.put = slow  # type: ignore[method-assign]
    try:
        system.push(image, name, "v1.0.0")
    finally:
        system.cloud.ecr._parts.images.put = put  # type: ignore[method-assign]
    assert started.is_set()
    assert system.digests_in(name, "v1.0.0") == [image.digest] * 2
    assert len(system.facts(image.digest, Kind.PROMOTED)) == 1
    assert not [i for i in listed(system.stack.state, pending_items.partition("prod")) if i.data["name"] == name]
