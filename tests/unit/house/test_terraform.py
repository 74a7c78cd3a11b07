"""The Terraform module, as an HCL parser reads it: declarations, references, and the values that the template
accepts."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest

from support.house.shown import FENCE, PAGES
from support.house.sources import text
from support.stacks.templates import ROOT, hub
from tallyman_cli.setup.publish import address, module

FOLDER = ROOT / "terraform"
TAKEN = {
    "aws_cloudformation_stack": (
        {"capabilities", "disable_rollback", "iam_role_arn", "name", "notification_arns", "on_failure", "parameters"}
        | {"policy_body", "policy_url", "tags", "template_body", "template_url", "timeout_in_minutes", "timeouts"},
        {"id", "name", "outputs", "tags_all"},
    )
}
"""Arguments and attributes of the resources in use, by the provider's documentation."""

AS_TEXT = {"String", "Number", "CommaDelimitedList"}
"""Types of parameters that CloudFormation takes as a text, which `map(string)` is."""


def parsed(source: str) -> dict[str, Any]:
    """HCL as data: strings without quotes, expressions as `${…}`."""
    found: dict[str, Any] = _plain(hcl2.loads(source))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value[1:-1] if isinstance(value, str) and value[:1] == value[-1:] == '"' else value


def blocks(data: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The blocks of a kind by name; a resource's or data source's by `type.name`."""
    found: dict[str, dict[str, Any]] = {}
    for each in data.get(kind, []):
        for name, body in each.items():
            inner = {f"{name}.{n}": b for n, b in body.items()} if kind in ("resource", "data") else {name: body}
            found |= inner
    return found


def expressions(value: Any) -> Iterator[str]:
    """Every expression in the data, also in template strings."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from expressions(each)
    elif isinstance(value, str):
        yield from re.findall(r"\$\{(.*?)\}", value) if "${" in value else ()


def unknown(data: dict[str, Any]) -> list[str]:
    """References to undeclared names, and stack outputs that the template does not have."""
    declared = {f"var.{name}" for name in blocks(data, "variable")}
    declared |= {f"local.{name}" for each in data.get("locals", []) for name in each}
    declared |= {f"data.{name}" for name in blocks(data, "data")} | {
        f"module.{name}" for name in blocks(data, "module")
    }
    resources = set(blocks(data, "resource"))
    found = []
    for expression in expressions(data):
        code = re.sub(r'"[^"]*"', '""', expression)
        for root, name in re.findall(r"(?<![\w.])(var|local|module)\.(\w+)", code):
            found += [f"{root}.{name}"] if f"{root}.{name}" not in declared else []
        for name in re.findall(r"(?<![\w.])data\.(\w+\.\w+)", code):
            found += [f"data.{name}"] if f"data.{name}" not in declared else []
        for name, attribute in re.findall(r"(?<![\w.])(aws_\w+\.\w+)\.(\w+)", code):
            if name not in resources or attribute not in TAKEN[name.partition(".")[0]][1]:
                found.append(f"{name}.{attribute}")
        for name in re.findall(r'outputs(?:\["|\.)(\w+)', expression):
            found += [f"outputs.{name}"] if name not in hub()["Outputs"] else []
    return found


def wrong_use(source: str) -> list[str]:
    """Errors in the use of `module "tallyman"` in HCL: variables, and parameters of the template."""
    variables = blocks(MODULE, "variable")
    found = []
    for body in blocks(parsed(source), "module").values():
        given = set(body) - {"source", "version", "providers"}
        found += [f"variable {name}" for name in given - set(variables)]
        found += [f"without {name}" for name, v in variables.items() if "default" not in v and name not in given]
        found += [wrong for each in body.get("parameters", {}).items() if (wrong := misfit(*each))]
    return found


def misfit(name: str, value: object) -> str | None:
    """Why the template refuses the value for a parameter; None: it accepts it. Terraform converts numbers to
    strings."""
    parameter = hub()["Parameters"].get(name)
    if parameter is None:
        return f"parameter {name}"
    if isinstance(value, (list, dict)):
        return f"{name}: not a text"
    if parameter["Type"] == "Number" and not re.fullmatch(r"-?\d+", str(value)):
        return f"{name}: not a number"
    return None if str(value) in map(str, parameter.get("AllowedValues", [value])) else f"{name}: not one of its values"


MODULE = parsed("\n".join(text(file) for file in sorted(FOLDER.glob("*.tf"))))


def test_each_variable_and_output_is_declared_with_its_type_and_documented() -> None:
    page = text(ROOT / "docs/aws.md")
    for name, body in blocks(MODULE, "variable").items():
        assert body["description"].endswith((".", "…", ")"))
        assert body["type"]
        assert f"`{name}`" in page, f"docs/aws.md says nothing of the variable {name}"
    for name, body in blocks(MODULE, "output").items():
        assert body["description"]
        assert body["value"]
        assert f"`{name}`" in page, f"docs/aws.md says nothing of the output {name}"


def test_every_variable_is_used_and_every_reference_is_known() -> None:
    used = {name for e in expressions(MODULE.get("resource")) for name in re.findall(r"\bvar\.(\w+)", e)}
    assert used == set(blocks(MODULE, "variable"))
    assert unknown(MODULE) == []


@pytest.mark.parametrize(
    "expression",
    [
        "var.nam",
        "local.name",
        "data.aws_region.here.name",
        "module.other.x",
        "aws_cloudformation_stack.other.outputs",
        "aws_cloudformation_stack.tallyman.arn",
        'aws_cloudformation_stack.tallyman.outputs["LedgerTables"]',
    ],
)
def test_an_unknown_reference_is_found(expression: str) -> None:
    assert unknown(parsed(f'{text(FOLDER / "main.tf")}\noutput "new" {{\n  value = {expression}\n}}\n'))


def test_versions_of_terraform_and_its_providers_are_bounded() -> None:
    (settings,) = MODULE["terraform"]
    assert settings["required_version"]
    providers = {name: body for each in settings["required_providers"] for name, body in each.items()}
    assert set(providers) == {name.partition("_")[0] for name in blocks(MODULE, "resource")}
    for body in providers.values():
        assert re.fullmatch(r"[\w-]+/[\w-]+", body["source"])
        assert re.search(r"~>|<", body["version"]), "a next major version may break it"


def test_the_stack_gets_valid_parameters() -> None:
    ((name, stack),) = blocks(MODULE, "resource").items()
    taken, _ = TAKEN[name.partition(".")[0]]
    assert set(stack) <= taken
    assert {"CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"} <= set(
        stack["capabilities"]
    )  # named roles; the transform
    variables = blocks(MODULE, "variable")
    assert stack["parameters"] == "${var.parameters}"
    assert variables["parameters"]["type"] == "${map(string)}"
    assert {p["Type"] for p in hub()["Parameters"].values()} <= AS_TEXT
    required = {name for name, p in hub()["Parameters"].items() if "Default" not in p}
    assert required == set(), "the module's variable `parameters` has to ask for them"


def test_the_address_printed_by_publish_is_accepted() -> None:
    (check,) = blocks(MODULE, "variable")["template_url"]["validation"]
    (pattern,) = re.findall(r'regex\("(.*)", var', check["condition"])
    template = address("ours", "tallyman/1.0.0/template.yaml", "us-east-2")
    assert re.search(pattern.replace("\\\\", "\\"), template)
    assert wrong_use(module(template)) == []


@pytest.mark.parametrize("page", [page for page in PAGES if "```hcl" in text(page)], ids=lambda page: page.name)
def test_the_pages_use_the_module_correctly(page: Path) -> None:
    for indent, language, body in FENCE.findall(text(page)):
        if language == "hcl":
            assert wrong_use(re.sub(rf"(?m)^{indent}", "", body)) == []


@pytest.mark.parametrize(
    ("inside", "wrong"),
    [
        ('template_url = "https://b.s3.us-east-2.amazonaws.com/t"\nregion = "us-east-2"', ["variable region"]),
        ('name = "tallyman"', ["without template_url"]),
        ('template_url = "https://b"\nparameters = { NoticeEmail = "a@b.c" }', ["parameter NoticeEmail"]),
        (
            'template_url = "https://b"\nparameters = { ReconcileSilentHours = "two" }',
            ["ReconcileSilentHours: not a number"],
        ),
        ('template_url = "https://b"\nparameters = { SubnetIds = ["a", "b"] }', ["SubnetIds: not a text"]),
        ('template_url = "https://b"\nparameters = { LogLevel = "LOUD" }', ["LogLevel: not one of its values"]),
        ('template_url = "https://b"\nparameters = { ReconcileSilentHours = 3 }', []),
    ],
)
def test_a_wrong_use_is_found(inside: str, wrong: list[str]) -> None:
    assert wrong_use(f'module "tallyman" {{\nsource = "x"\n{inside}\n}}\n') == wrong


def test_the_module_is_formatted() -> None:
    if terraform := shutil.which("terraform") or shutil.which("tofu"):
        subprocess.run([terraform, "fmt", "-check", str(FOLDER)], check=True)
