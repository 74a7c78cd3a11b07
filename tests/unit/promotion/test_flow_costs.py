"""The cost of one image from its push to its release in two regions: invocations, units of DynamoDB, calls of ECR.

Counted on fakes (`support.fakes.metered`) as AWS bills them; docs/scale.md shows these numbers, and a test compares.
"""

import re
from pathlib import Path

import pytest

from support.fakes.flows import Flow, Spent
from support.images.builders import Built, image, multi_arch
from tallyman.domain.history.facts import Kind

DOCS = Path(__file__).parents[3] / "docs" / "scale.md"
FLOWS = {
    "one platform": image("a"),
    "index, two platforms, two attestations": multi_arch("a", attested=True),
}
BOUNDS = {  # invocations, read units, write units of the tables, of the indexes, calls of ECR
    "one platform": (8, 120, 93, 50, 62),
    "index, two platforms, two attestations": (15, 270, 190, 125, 200),
}


def released(built: Built) -> tuple[Flow, Spent]:
    """A hub in which another image was released before."""
    flow = Flow()
    flow.released(image("before"), "v0.9.0")
    return flow, flow.released(built, "v1.0.0")


@pytest.mark.parametrize("name", FLOWS)
def test_an_image_is_released_within_its_bounds(name: str) -> None:
    built = FLOWS[name]
    flow, spent = released(built)
    assert [f.digest for f in flow.facts(Kind.RELEASED)][-1] == built.digest
    assert spent.runs["promote_image"] == 1
    invocations, reads, writes, index, ecr = BOUNDS[name]
    assert spent.invocations <= invocations, spent.runs
    assert spent.reads <= reads
    assert spent.writes <= writes
    assert spent.index <= index
    assert spent.ecr <= ecr


@pytest.mark.parametrize("name", FLOWS)
def test_the_docs_show_the_counted_costs(name: str) -> None:
    _, spent = released(FLOWS[name])
    row = next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| {name}, now"))
    result = [int(cell) for cell in re.findall(r"\| *(\d+) *(?=\|)", row)]
    assert result == [spent.invocations, spent.reads, spent.writes, spent.index, spent.ecr]


def test_the_prices_in_the_docs_follow_from_the_counted_costs() -> None:
    """In dollars per million images: units and invocations times their price, and the sum of all rows."""
    spents = [released(FLOWS[name])[1] for name in FLOWS]
    counts = {
        "DynamoDB, reads": [s.reads for s in spents],
        "DynamoDB, writes": [s.writes + s.index for s in spents],
        "Lambda, requests": [s.invocations for s in spents],
        "S3, objects": [s.calls["archived"] for s in spents],
    }
    section = DOCS.read_text().partition("## What a million pushes cost")[2].partition("## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "$" in line[:120]]
    dollars = {
        row[0]: [float(cell.lstrip("$").split()[0]) for cell in row[1:] if cell] for row in rows if len(row) == 4
    }
    for name, counted in counts.items():
        price, *shown = next(dollars[row] for row in dollars if row.startswith(name))
        assert shown == [round(price * each + 1e-9, 2) for each in counted], name
    parts = [shown[-2:] for name, shown in dollars.items() if name != "together"]
    assert dollars["together"] == [round(sum(column), 2) for column in zip(*parts, strict=True)]


def test_without_a_window_each_event_may_be_an_invocation() -> None:
    """The savings of template.yaml's batches, and that the flow does not depend on them."""
    flow = Flow()
    flow.batches = {name: type(each)(each.size, 0) for name, each in flow.batches.items()}
    assert flow.released(image("a"), "v1.0.0").invocations == 12
    assert [f.tag for f in flow.facts(Kind.VERIFIED)] == ["v1.0.0"] * 3


def test_our_own_push_reads_its_facts_once() -> None:
    """Its stowaway check and its decision read the same partition."""
    flow = Flow()
    built = image("a")
    flow.released(built, "v1.0.0")
    begun = flow.counted()
    flow.registries.pushes.append(flow.registries.pushes[-1])
    flow.tell()
    flow.queue = [message for message in flow.queue if message[1] == "push"]
    flow.work()
    assert flow.spent(begun).calls["query"] == 1
