"""A burst of pushes: each image that is ready is promoted by one run, whatever its events were."""

from collections import Counter

import pytest

from support.fakes.flows import Flow
from support.images.builders import Built, image, index
from tallyman.domain.history.facts import Kind

SHARED = image("shared", architecture="amd64")
BURSTS = {
    "images": [image(f"burst {n}") for n in range(12)],
    "indexes over one image": [index(SHARED, image(f"own {n}", architecture="arm64")) for n in range(12)],
}


@pytest.mark.parametrize("times", [1, 2], ids=["once", "doubled"])
@pytest.mark.parametrize("burst", BURSTS)
def test_each_image_of_a_burst_is_promoted_by_one_run(burst: str, times: int) -> None:
    flow, builts = Flow(), BURSTS[burst]
    for number, built in enumerate(builts):
        flow.push(built, f"v1.{number}.0")
    flow.queue *= times  # each event is delivered so many times
    flow.work()
    for built in builts:
        flow.scanned(built)
    flow.queue *= times
    flow.work()
    assert flow.queue == []
    assert Counter(fact.digest for fact in flow.facts(Kind.PROMOTED)) == {built.digest: 1 for built in builts}
    assert flow.runs["promote_image"] == len(builts)


def test_the_images_of_a_burst_share_their_invocations() -> None:
    builts: list[Built] = BURSTS["images"]
    flow = Flow()
    for number, built in enumerate(builts):
        flow.push(built, f"v1.{number}.0")
    flow.work()
    for built in builts:
        flow.scanned(built)
    flow.work()
    assert sum(flow.runs.values()) <= 4 * len(builts)
