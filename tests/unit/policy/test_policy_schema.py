"""The JSON Schema, and `tallyman policy`."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from tallyman_cli.setup.policy import app, schema_text

ROOT = Path(__file__).parents[3]
POLICIES = [
    *sorted((ROOT / "examples/policies").glob("*.yaml")),
    ROOT / "layers/policy/tallyman.yaml",
]
SCHEMA = json.loads(schema_text())


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=date.isoformat))


def test_the_schema_in_the_docs_is_current() -> None:
    assert (ROOT / "docs/tallyman.schema.json").read_text() == schema_text(), (
        "run: tallyman policy schema > docs/tallyman.schema.json"
    )


def test_the_schema_is_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_the_policies_that_we_ship_fit_the_schema(path: Path) -> None:
    jsonschema.validate(as_json(yaml.safe_load(path.read_bytes())), SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "data",
    [
        {"peeple": {}},
        {"environments": {"dev": {"registries": []}}},
        {"environments": {"dev": {"registries": ["x"]}}},
        {"repositories": [{"match": "a", "create": {"pull": [222222222222]}}]},
        {"repositories": [{"match": "a", "promotions": [{"from": "a", "to": "b", "gates": {"soak": "24 hours"}}]}]},
        {"repositories": [{"match": "a", "promotions": [{"from": "a", "to": "b", "gates": {"approvals": {}}}]}]},
        {"repositories": [{"match": "a", "retention": {"at_most": "101%"}}]},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(data: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA, jsonschema.Draft202012Validator)


def test_every_key_of_the_schema_has_a_description() -> None:
    def undescribed(schema: Any, where: str) -> list[str]:
        if isinstance(schema, list):
            return [path for item in schema for path in undescribed(item, where)]
        if not isinstance(schema, dict):
            return []
        missing = []
        for key, inner in schema.items():
            if key == "properties":
                missing += [f"{where}.{n}" for n, s in inner.items() if not s.get("description", "").endswith(".")]
                missing += [path for n, s in inner.items() for path in undescribed(s, f"{where}.{n}")]
            else:
                missing += undescribed(inner, where)
        return missing

    assert undescribed(SCHEMA, "") == []


def run(*arguments: str, env: dict[str, str | None] | None = None) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"TALLYMAN_POLICY": None, **(env or {})})


def test_check_describes_a_policy() -> None:
    result = run("check", str(ROOT / "examples/policies/hub-and-spokes.yaml"))
    assert result.exit_code == 0, result.stderr
    assert "is valid (sha256:" in result.stdout
    assert "222222222222/us-east-2, 222222222222/sa-east-1" in result.stdout
    assert "staging → prod: semver, semver-commit, >=1.0.0" in result.stdout
    assert "gate soak 24h" in result.stdout
    assert result.stderr == ""


def test_check_prints_json() -> None:
    result = run("check", str(ROOT / "examples/policies/hub-and-spokes.yaml"), "--json")
    data = json.loads(result.stdout)
    assert data["valid"] is True
    assert data["digest"].startswith("sha256:")
    assert [e["name"] for e in data["environments"]] == ["dev", "staging", "prod"]
    promotion = data["repositories"][2]["promotions"][1]
    assert promotion["gates"]["soak"] == {"duration": "24h"}
    assert promotion["gates"]["scan"]["ignore"][0]["until"] == "2027-01-31"
    assert data["problems"] == []


def test_check_reports_each_problem_on_stderr_and_exits_2(tmp_path: Path) -> None:
    file = tmp_path / "tallyman.yaml"
    file.write_text("peeple: {}\nrepositories: 5\n")
    result = run("check", str(file))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"{file}:1: peeple: unknown key 'peeple' (did you mean 'people'?)" in result.stderr
    assert f"{file}:2: repositories: expected a list of repository entries" in result.stderr


def test_check_with_json_lists_the_problems_and_exits_2(tmp_path: Path) -> None:
    file = tmp_path / "tallyman.yaml"
    file.write_text("peeple: {}\n")
    result = run("check", str(file), "--json")
    assert result.exit_code == 2
    data = json.loads(result.stdout)
    assert data["valid"] is False
    assert data["problems"][0]["line"] == 1
    assert data["problems"][0]["key"] == "peeple"
    good = json.loads(run("check", str(POLICIES[0]), "--json").stdout)
    assert data.keys() == good.keys()


def test_check_of_a_missing_file_exits_2(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "nowhere.yaml"))
    assert result.exit_code == 2
    assert "can't be read" in result.stderr


def test_check_uses_the_file_named_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("people: {recall: [role/security]}\n")
    result = run("check", env={"TALLYMAN_POLICY": str(file)})
    assert result.exit_code == 0, result.stderr
    assert f"{file} is valid" in result.stdout
    assert "role/security" in result.stdout


def test_check_finds_the_policy_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tallyman.yaml").write_text("people: {}\n")
    monkeypatch.chdir(tmp_path)
    assert "tallyman.yaml is valid" in run("check").stdout
    (tmp_path / "layers/policy").mkdir(parents=True)
    (tmp_path / "layers/policy/tallyman.yaml").write_text("people: {}\n")
    assert "layers/policy/tallyman.yaml is valid" in run("check").stdout


def test_check_prints_warnings_on_stderr(tmp_path: Path) -> None:
    file = tmp_path / "tallyman.yaml"
    file.write_text(
        "environments: {a: {registries: [111111111111/us-east-2]}, b: {registries: [222222222222/us-east-2]}}\n"
        "repositories: [{match: x/*, tags: {allow: [semver]}, promotions: [{from: a, to: b, tags: [edge]}]}]\n"
    )
    result = run("check", str(file))
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {file}:2: repositories[0].promotions[0].tags: no tag of edge")


@pytest.mark.parametrize(
    ("signers", "missing", "enough"),
    [
        ("identities: [{issuer: https://example.com, subject: ana}]", "identities", "trusted_root.json"),
        ('notation: [{subject: "C=US, ST=WA, O=Us"}]', "subjects of Notation", "notation-ca.pem"),
        ('notation: [{subject: "C=US, ST=WA, O=Us"}]', "subjects of Notation", "notation-signing-authority.pem"),
        (
            'notation: [{profile: "arn:aws:signer:us-east-1:111111111111:/signing-profiles/release"}]',
            "profiles of AWS Signer",
            "notation-signing-authority.pem",
        ),
    ],
)
def test_check_warns_of_signers_without_trust_roots(tmp_path: Path, signers: str, missing: str, enough: str) -> None:
    path = tmp_path / "tallyman.yaml"
    path.write_text(
        "environments: {dev: {registries: [111111111111/us-east-2]}, prod: {registries: [222222222222/us-east-2]}}\n"
        "repositories:\n  - match: rocketseat/*\n    promotions:\n"
        f"      - {{from: dev, to: prod, gates: {{signed: {{{signers}}}}}}}\n"
    )
    result = run("check", str(path))
    assert result.exit_code == 0, result.output
    assert f"warning: {missing} are named as signers, and " in result.stderr
    assert "no signature of theirs counts" in result.stderr
    assert any(missing in warning for warning in json.loads(run("check", str(path), "--json").stdout)["warnings"])
    (tmp_path / "notation-tsa.pem").write_text("does not vouch for signers")
    assert "no signature of theirs counts" in run("check", str(path)).stderr
    (tmp_path / enough).write_text("read where signatures are verified")
    assert "no signature of theirs counts" not in run("check", str(path)).stderr


ROLLED = """
environments:
  dev: {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2], rollout: {services: [{ecs: shop/app, repository: shop/app}]}}
"""


class Ecs:
    """Clients of AWS: ECS with one service."""

    def __init__(self, **service: Any) -> None:
        self.service = {"status": "ACTIVE", **service}

    def get(self, service: str, registry: object = None, power: str = "read") -> Any:
        return self

    def describe_services(self, cluster: str, services: list[str]) -> dict[str, Any]:
        return {"services": [self.service]}


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({}, ""),
        ({"deploymentController": {"type": "CODE_DEPLOY"}}, "its deployment controller is CODE_DEPLOY"),
        ({"deploymentController": {"type": "EXTERNAL"}}, "its deployment controller is EXTERNAL"),
        ({"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}, "its deployment strategy is BLUE_GREEN"),
    ],
)
def test_check_names_services_that_a_release_cannot_update(
    service: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tallyman.yaml"
    file.write_text(ROLLED)
    monkeypatch.setattr("tallyman_cli.setup.policy._clients", lambda region: Ecs(**service))
    result = run("check", str(file), "--json")
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)["services"]
    assert found["verdict"] == ("failed" if said else "ok")
    assert said in result.stderr
    assert ("warning" in result.stderr) == bool(said)
    assert json.loads(run("check", str(file), "--json", "--offline").stdout)["services"] == []


def test_check_without_credentials_notes_that_services_were_not_checked(tmp_path: Path) -> None:
    file = tmp_path / "tallyman.yaml"
    file.write_text(ROLLED)
    none = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"))
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/no"}
    result = run("check", str(file), env=none | nowhere)
    assert result.exit_code == 0
    assert "not known: how ECS deploys the services in `rollout`: there are no credentials" in result.stderr


def test_schema_prints_the_schema() -> None:
    result = run("schema")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == SCHEMA
