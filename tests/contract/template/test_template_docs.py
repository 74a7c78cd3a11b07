"""docs/settings.md = the parameters and variables of the templates."""

import json
import re
from typing import Any

import pytest
from aws.smoke import USD_A_PUSH, USD_AN_HOUR

from support.stacks.templates import FUNCTIONS, ROOT, build, chat, hub, listed, logical_id, of_type, page, spoke, text
from tallyman.domain.decide import CONFLICT
from tallyman.domain.gates import FAILED, WAITING
from tallyman.domain.policy.notices import KINDS
from tallyman.runtime import ALARMED, BY_ENVIRONMENT

SETTINGS = (ROOT / "docs/settings.md").read_text("utf-8")


PLAIN = {"spoke.yaml": spoke(), "build.yaml": build(), "chat.yaml": chat(), "page.yaml": page()}


def section(title: str) -> str:
    found = re.search(rf"(?ms)^## {re.escape(title)}$(.*?)(?=^## |\Z)", SETTINGS)
    assert found, title
    return found[1]


@pytest.mark.parametrize(
    ("name", "template"),
    [("template.yaml", hub()), ("spoke.yaml", spoke()), ("build.yaml", build()), ("chat.yaml", chat())],
)
def test_the_settings_page_lists_every_parameter_with_its_default(name: str, template: dict[str, Any]) -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", section(f"Parameters of {name}"))
    assert dict(rows) == {key: str(p.get("Default", "")) for key, p in template["Parameters"].items()}


def test_the_settings_page_names_every_variable_of_the_functions() -> None:
    variables = set(hub()["Globals"]["Function"]["Environment"]["Variables"])
    for function in FUNCTIONS:
        variables |= set(hub()["Resources"][logical_id(function)]["Properties"]["Environment"]["Variables"])
    ours = {name for name in variables if name.startswith("TALLYMAN_")}
    assert ours <= set(re.findall(r"`(TALLYMAN_[A-Z_]+)`", section("Environment of the functions")))


def chapter(title: str, page: str = "operations") -> str:
    """A section of a page of docs."""
    found = re.search(rf"(?ms)^## {re.escape(title)}$(.*?)(?=^## |\Z)", (ROOT / f"docs/{page}.md").read_text("utf-8"))
    assert found, title
    return found[1]


def operations(title: str) -> set[str]:
    """The names in the first column of a table of docs/operations.md."""
    rows = re.findall(r"(?m)^\| (`[^|]*`) \| \S[^|]* \| \S[^|]* \|$", chapter(title))
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def costs() -> list[list[tuple[str, str, float]]]:
    """The two cost tables, as (item, count, USD); the last row of each is its sum."""
    tables = re.findall(r"(?ms)^\|---\|---\|---\|\n(.*?)\n\n", chapter("What it costs"))
    rows = [[[cell.strip(" *") for cell in row.strip("|").split("|")] for row in t.splitlines()] for t in tables]
    return [[(what, count, float(usd.removeprefix("about "))) for what, count, usd in table] for table in rows]


def test_the_cost_tables_add_up_and_agree_with_the_smoke_test() -> None:
    for *rows, (_, _, total) in costs():
        assert round(sum(usd for *_, usd in rows), 2) == total
    idle, pushes = (table[-1][2] for table in costs())
    assert idle / 730 <= USD_AN_HOUR
    assert pushes / 1000 <= USD_A_PUSH


def test_the_counts_in_the_cost_tables_agree_with_the_template_and_the_scale_page() -> None:
    idle, pushes = ({what: count for what, count, _ in table} for table in costs())

    def counted(begins: str) -> float:
        (found,) = (count for what, count in idle.items() if what.startswith(begins))
        return float(found.split()[0])

    alarms = of_type(hub(), "AWS::CloudWatch::Alarm").values()
    metrics = sum(sum("MetricStat" in m for m in alarm.get("Metrics", ())) or 1 for alarm in alarms)
    assert counted("alarms") == pytest.approx(metrics, rel=0.1)
    assert counted("metrics of its own") == len(ALARMED) + 2 * len(BY_ENVIRONMENT)
    queues = sum(1 for queue in FUNCTIONS.values() if queue)
    assert counted("SQS") == pytest.approx(queues * 5 * 3 * 60 * 24 * 30 / 1e6, rel=0.1)
    row = re.search(r"(?m)^\| one platform, now \|(.*)$", chapter("What one image costs", "scale"))
    assert row
    runs, reads, writes, indexes, _ = (int(cell) for cell in row[1].strip(" |").split("|"))
    said = " ".join(pushes)
    named = {"invocations": runs, "read units": reads, "write units": writes, "of indexes": indexes}
    for words, found in named.items():
        rounded = re.search(rf"(\d+) {words}", said)
        assert rounded
        assert int(rounded[1]) == pytest.approx(found, rel=0.1)


def test_the_operations_page_says_what_to_do_for_each_alarm() -> None:
    alarms = of_type(hub(), "AWS::CloudWatch::Alarm").values()
    assert operations("Alarms") == {text(a["AlarmName"]).removeprefix("${AWS::StackName}-") for a in alarms}


def test_the_operations_page_says_what_to_do_for_each_kind_of_notice() -> None:
    services = (ROOT / "layers/core/src/tallyman/services").rglob("*.py")
    sources = [source for path in services if "publish(" in (source := path.read_text())]
    kinds = {kind for source in sources for kind in re.findall(r'(?:"kind": |_attributes\()"([a-z_-]+)"', source)}
    kinds |= {"override", "recall"} | {FAILED, CONFLICT, WAITING}  # kinds that are the name of a command, or a verdict
    assert operations("Notices") == kinds == set(KINDS)


def test_retained_resources_can_be_imported_by_a_valid_change_set() -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"(?m)^aws cloudformation create-change-set .*$", page)
    assert "--import-existing-resources" in command
    assert "--change-set-type CREATE" in command  # IMPORT needs each resource named, and adds nothing new
    assert (ROOT / "template.yaml").stat().st_size > 51_200  # longer than --template-body allows
    assert "--template-url" in command
    kept = {name for name, r in hub()["Resources"].items() if r.get("DeletionPolicy") == "RetainExceptOnCreate"}
    assert kept == {"LedgerTable", "StateTable", "ArchiveBucket"}
    assert all(f"`{name}`" in page for name in kept)


def test_a_customer_keys_policy_has_no_condition_for_eventbridge() -> None:
    """`aws:Source…` in a key's policy blocks EventBridge from encrypted topics, without an error (SNS's guide)."""
    (text_of,) = re.findall(r"(?ms)^```json\n(.*?)^```", chapter("A customer key", "aws"))
    by_service = {s: each for each in json.loads(text_of) for s in listed(each["Principal"]["Service"])}
    assert set(by_service) == {"events.amazonaws.com", "sns.amazonaws.com", "cloudwatch.amazonaws.com"}
    assert "Condition" not in by_service["events.amazonaws.com"]
    assert by_service["cloudwatch.amazonaws.com"]["Condition"]["StringEquals"].keys() == {"aws:SourceAccount"}
