"""The cost of a promotion: one run of promote_image for an image that is ready, and a number of reads that its own
pushes don't multiply."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from support.fakes.chains import Chain, chain
from support.images.builders import Built, image, multi_arch
from tallyman.domain.history.facts import Kind

TWO = {
    "dev": {"registries": ["111111111111/us-east-2"]},
    "prod": {"registries": ["222222222222/us-east-2", "222222222222/sa-east-1"]},
}


def counting(system: Chain) -> Counter[str]:
    """Count the calls of ledger and state from now on."""
    calls: Counter[str] = Counter()

    def counted(port: object, name: str) -> None:
        real: Callable[..., Any] = getattr(port, name)

        def call(*arguments: Any, **named: Any) -> Any:
            calls[name] += 1
            return real(*arguments, **named)

        setattr(port, name, call)

    for name in ("of_digest", "append"):
        counted(system.ledger, name)
    for name in ("get", "get_many", "put", "list"):
        counted(system.state, name)
    return calls


@pytest.mark.parametrize(
    ("built", "facts_read", "state_read"),
    [(image("a"), 32, 50), (multi_arch("a", attested=True), 100, 100)],
    ids=["image", "index"],
)
def test_an_image_is_promoted_in_one_run_and_with_bounded_reads(built: Built, facts_read: int, state_read: int) -> None:
    system = Chain(policy=chain(TWO))
    calls = counting(system)
    system.pushed(built, "v1.0.0")
    assert system.outcomes == ["promoted"]
    assert calls["of_digest"] <= facts_read
    assert calls["get"] + calls["get_many"] + calls["list"] <= state_read


def test_our_own_pushes_without_a_tag_are_not_verified_one_by_one() -> None:
    system = Chain(policy=chain(TWO))
    system.pushed(multi_arch("a", attested=True), "v1.0.0")
    in_prod = [f for f in system.facts(Kind.VERIFIED) if f.repository in system.places("prod")]
    assert len(in_prod) == 2
    assert all(f.tag == "v1.0.0" and f.detail["verdict"] == "passed" for f in in_prod)


def test_the_cost_of_a_promotion_does_not_grow_with_earlier_ones() -> None:
    system = Chain(policy=chain(TWO))
    spent = []
    for n in range(6):
        calls = counting(system)
        system.pushed(image(str(n)), f"v1.{n}.0")
        spent.append(calls["of_digest"])
    assert spent[-1] == spent[1]
