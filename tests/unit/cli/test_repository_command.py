"""`tallyman repository create`."""

from dataclasses import replace

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import DEV, PROD, PROD_SA
from tallyman.adapters.files import policy_file
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import Repository
from tallyman.errors import Unreachable
from tallyman_cli.registry.creation import differences

CREATE = ("repository", "create", "rocketseat/widget-server", "--in")


def test_it_is_created_as_the_policy_says_in_every_registry(system: FakeStack) -> None:
    found = system.json(*CREATE, "prod")
    assert [(f["registry"], f["state"], f["differences"]) for f in found] == [
        (str(PROD.registry), "created", []),
        (str(PROD_SA.registry), "created", []),
    ]
    made = system.registries.held(PROD_SA).settings
    assert (made.immutable, made.mutable_tags, made.encryption, made.scan_on_push) == (
        True,
        ("latest",),
        "AES256",
        True,
    )


def test_an_equal_existing_repository_is_ok(system: FakeStack) -> None:
    result = system.run(*CREATE, "dev")
    assert result.exit_code == 0
    assert "exists as the policy says" in result.stdout
    assert system.json(*CREATE, "dev")[0]["state"] == "equal"


def test_a_different_existing_repository_is_kept_and_each_difference_reported(system: FakeStack) -> None:
    system.registries.add(DEV, immutable=False, mutable_tags=(), scan_on_push=False)
    (found,) = system.json(*CREATE, "dev", status=1)
    assert found["state"] == "differs"
    assert found["differences"] == [
        {"setting": "immutable", "wanted": True, "found": False},
        {"setting": "mutable_tags", "wanted": ["latest"], "found": []},
        {"setting": "scan_on_push", "wanted": True, "found": False},
    ]
    text = system.run(*CREATE, "dev")
    assert text.exit_code == 1
    assert "immutable: wanted yes, found no" in text.stdout
    assert not system.registries.held(DEV).settings.immutable


def test_a_registry_that_does_not_answer_does_not_stop_the_others(system: FakeStack) -> None:
    system.registries.fail(PROD.registry, Unreachable("us-east-2 does not answer"))
    first, second = system.json(*CREATE, "prod", status=1)
    assert (first["state"], second["state"]) == ("failed", "created")
    assert "does not answer" in first["error"]


def test_an_environment_that_renames_gets_its_own_name(system: FakeStack) -> None:
    renamed = POLICY.replace("us-east-2, 222222222222/sa-east-1]}", 'us-east-2], repository: "prod/{name}"}')
    system.stack.given = policy_file.loads(renamed.encode())
    (found,) = system.json(*CREATE, "prod")
    assert found["repository"] == "prod/rocketseat/widget-server"
    assert found["uri"] == "222222222222.dkr.ecr.us-east-2.amazonaws.com/prod/rocketseat/widget-server"


def test_in_a_local_cloud_the_address_is_the_port(system: FakeStack) -> None:
    result = system.run(*CREATE, "dev", TALLYMAN_REGISTRY_DEV_1="localhost:5101")
    assert "(localhost:5101/rocketseat/widget-server)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("rocketseat/widget-server", "--in", "staging"), "unknown environment"),
        (("Rocketseat", "--in", "dev"), "not a repository"),
        (("rocketseat/widget-server",), "--in"),
    ],
)
def test_bad_input_creates_nothing(system: FakeStack, arguments: tuple[str, ...], word: str) -> None:
    result = system.run("repository", "create", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert word in result.stderr
    assert not [r for r in system.registries.requests if r[0] == "create"]


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ("1234", "arn:aws:kms:us-east-2:111111111111:key/1234", True),
        ("arn:aws:kms:us-east-2:111111111111:key/1234", "arn:aws:kms:us-east-2:111111111111:key/1234", True),
        ("1234", "arn:aws:kms:us-east-2:111111111111:key/5678", False),
        ("alias/images", "arn:aws:kms:us-east-2:111111111111:key/1234", True),
        ("1234", None, False),
        (None, "arn:aws:kms:us-east-2:111111111111:key/1234", True),
    ],
)
def test_keys_are_compared_in_every_spelling(wanted: str | None, found: str | None, same: bool) -> None:
    settings = RepositorySettings(Repository(DEV.registry, "app"), True, (), "KMS", wanted)
    assert (differences(settings, replace(settings, kms_key=found)) == []) is same
