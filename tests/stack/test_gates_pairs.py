"""Gates in pairs, with the deployed handlers: neither opens the other, in whatever order they open."""

from collections.abc import Callable, Iterator

import pytest

from support.images import builders as b
from support.stacks.gate_stack import Gated, gate_stack

PAIRS = [("signed", "approvals"), ("scan", "approvals"), ("soak", "window")]
Opening = Callable[[Gated, str, b.Built], None]


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gate_stack(tmp_path_factory.mktemp("pairs")) as running:
        running.push(*(("-".join(pair), tag) for pair in PAIRS for tag in ("v1.0.0", "v2.0.0")))
        yield running


def sign(gated: Gated, name: str, image: b.Built) -> None:
    gated.system.push(b.signature(image), f"gates/{name}")


def scan(gated: Gated, name: str, image: b.Built) -> None:
    gated.system.scan(image, f"gates/{name}")


def approve(gated: Gated, name: str, image: b.Built) -> None:
    gated.about("approve", name, image.digest)


def soak(gated: Gated, name: str, image: b.Built) -> None:
    gated.about("override", name, image.digest, gate="soak")


def window(gated: Gated, name: str, image: b.Built) -> None:
    gated.about("override", name, image.digest, gate="window")


OPENINGS: dict[str, Opening] = {"signed": sign, "scan": scan, "approvals": approve, "soak": soak, "window": window}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("turned", [False, True], ids=["first", "second"])
def test_both_have_to_open(gated: Gated, pair: tuple[str, str], turned: bool) -> None:
    name, tag = "-".join(pair), "v2.0.0" if turned else "v1.0.0"
    one, other = reversed(pair) if turned else pair
    image = gated.pushed(name, tag)
    assert set(gated.closed(name, tag)) == {one, other}
    OPENINGS[one](gated, name, image)
    assert set(gated.closed(name, tag)) == {other}
    OPENINGS[other](gated, name, image)
    assert gated.is_in(name, image.digest, tag)


def test_an_approval_during_a_freeze_counts_after_it(gated: Gated) -> None:
    name = "approvals-freeze"
    gated.say("freeze", environment="prod", repository=f"gates/{name}")
    image = gated.pushed(name)
    assert set(gated.closed(name)) == {"approvals", "freeze"}
    gated.about("approve", name, image.digest)
    assert set(gated.closed(name)) == {"freeze"}
    gated.say("thaw", environment="prod", repository=f"gates/{name}")
    assert gated.is_in(name, image.digest)


def test_of_two_waiting_versions_the_older_is_refused_once_the_newer_is_promoted(gated: Gated) -> None:
    name = "order-approvals"
    gated.push((name, "v1.0.0"), (name, "v1.1.0"))
    old, new = gated.pushed(name), gated.pushed(name, "v1.1.0")
    gated.about("approve", name, new.digest)
    assert gated.is_in(name, new.digest, "v1.1.0")
    gated.about("approve", name, old.digest)
    assert gated.closed(name) == {"order": "failed"}
