"""Gates in pairs, with the deployed handlers: neither opens for the other, in whatever order they open."""

from collections.abc import Callable, Iterator

import pytest

from support.images import builders as b
from support.stacks.gate_stack import Gated, gated

PAIRS = [("signed", "approvals"), ("scan", "approvals"), ("soak", "window")]
Opening = Callable[[Gated, str, b.Built], None]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("pairs")) as running:
        running.push(*(("-".join(pair), tag) for pair in PAIRS for tag in ("v1.0.0", "v2.0.0")))
        yield running


def sign(door: Gated, name: str, image: b.Built) -> None:
    door.world.push(b.signature(image), f"gates/{name}")


def scan(door: Gated, name: str, image: b.Built) -> None:
    door.world.scan(image, f"gates/{name}")


def approve(door: Gated, name: str, image: b.Built) -> None:
    door.about("approve", name, image.digest)


def soak(door: Gated, name: str, image: b.Built) -> None:
    door.about("override", name, image.digest, gate="soak")


def window(door: Gated, name: str, image: b.Built) -> None:
    door.about("override", name, image.digest, gate="window")


OPENINGS: dict[str, Opening] = {"signed": sign, "scan": scan, "approvals": approve, "soak": soak, "window": window}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("turned", [False, True], ids=["first", "second"])
def test_both_have_to_open(door: Gated, pair: tuple[str, str], turned: bool) -> None:
    name, tag = "-".join(pair), "v2.0.0" if turned else "v1.0.0"
    one, other = reversed(pair) if turned else pair
    image = door.pushed(name, tag)
    assert set(door.closed(name, tag)) == {one, other}
    OPENINGS[one](door, name, image)
    assert set(door.closed(name, tag)) == {other}
    OPENINGS[other](door, name, image)
    assert door.is_in(name, image.digest, tag)


def test_an_approval_during_a_freeze_counts_after_it(door: Gated) -> None:
    name = "approvals-freeze"
    door.say("freeze", environment="prod", repository=f"gates/{name}")
    image = door.pushed(name)
    assert set(door.closed(name)) == {"approvals", "freeze"}
    door.about("approve", name, image.digest)
    assert set(door.closed(name)) == {"freeze"}
    door.say("thaw", environment="prod", repository=f"gates/{name}")
    assert door.is_in(name, image.digest)


def test_of_two_that_wait_the_older_stays_out_once_the_newer_is_in(door: Gated) -> None:
    name = "order-approvals"
    door.push((name, "v1.0.0"), (name, "v1.1.0"))
    old, new = door.pushed(name), door.pushed(name, "v1.1.0")
    door.about("approve", name, new.digest)
    assert door.is_in(name, new.digest, "v1.1.0")
    door.about("approve", name, old.digest)
    assert door.closed(name) == {"order": "failed"}
