"""`tallyman audit` on the local cloud: changes that bypass Tallyman are found; settings are corrected."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from support.images import builders as b
from support.stacks.deployed import Deployed, deployed
from tallyman_cli.main import app

POLICY = """\
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2, 222222222222/sa-east-1]}
repositories:
  - match: rocketseat/*
    create: {immutable: true, mutable_tags: [latest], scan_on_push: true, push: tallyman-only}
    promotions:
      - {from: dev, to: prod, tags: [semver], gates: {verified: true}}
    retention: {keep: [{newest: 5}], enforce: true}
"""
NAME = "rocketseat/widget-server"
ADMIN = "arn:aws:iam::222222222222:role/admin"


@pytest.fixture
def system(tmp_path: Any) -> Iterator[Deployed]:
    with deployed(tmp_path, POLICY, scanner="clean") as running:
        running.push(b.image("audited"), NAME, "v1.0.0")
        yield running


def audit(*words: str, given: str = "") -> dict[str, list[dict[str, Any]]]:
    """The findings by kind, without those about good practice."""
    result = CliRunner().invoke(app, ["audit", *words, "--json"], input=given)
    found = json.loads(result.stdout)["findings"]
    assert result.exit_code == (1 if found else 0), result.output
    kinds: dict[str, list[dict[str, Any]]] = {}
    for each in found:
        assert set(each) == {"kind", "what", "where", "since", "why", "todo", "fixable"}
        kinds.setdefault(each["kind"], []).append(each)
    kinds.pop("practice", None)
    return kinds


def test_changes_that_bypass_tallyman_are_found_and_settings_corrected(system: Deployed) -> None:
    assert audit() == {}
    system.create(NAME, "prod")  # the repository exists
    place = system.place(NAME, "prod", 2)
    other = system.client("ecr", "sa-east-1", role=ADMIN)
    policy = json.loads(other.get_repository_policy(repositoryName=NAME)["policyText"])
    own = {"Sid": "Ours", "Effect": "Allow", "Principal": {"AWS": [ADMIN]}, "Action": ["ecr:PutImage"]}
    other.set_repository_policy(repositoryName=NAME, policyText=json.dumps({**policy, "Statement": [own]}))
    other.put_image_tag_mutability(repositoryName=NAME, imageTagMutability="MUTABLE")
    other.put_image_scanning_configuration(repositoryName=NAME, imageScanningConfiguration={"scanOnPush": False})
    stranger = b.image("stranger")
    system.push(stranger, NAME, "v0.0.1", environment="prod", number=2)

    found = audit()
    assert set(found) == {
        "stowaway",
        "tags_differ",
        "open_to_pushes",
        "others_push",
        "setting_immutable",
        "setting_mutable_tags",
        "setting_scan_on_push",
    }
    (stowaway,) = found["stowaway"]
    assert stowaway["where"] == str(place)
    assert str(stranger.digest) in stowaway["what"]
    assert stowaway["since"]
    assert {kind for kind, each in found.items() if each[0]["fixable"]} == set(found) - {
        "stowaway",
        "tags_differ",
        "others_push",
    }
    assert audit("--since", "2099-01-01T00:00:00Z").keys() <= found.keys() - {"stowaway", "tags_differ"}

    assert audit("--fix", given="n\n").keys() == found.keys()  # asked, and declined
    left = audit("--fix", given="y\n")
    assert set(left) == {"stowaway", "tags_differ", "others_push"}
    assert set(audit()) == set(left)
    mended = json.loads(other.get_repository_policy(repositoryName=NAME)["policyText"])
    assert [s["Sid"] for s in mended["Statement"]] == ["OnlyTallymanPushes", "Ours"]


def test_a_release_without_its_image_and_a_version_with_two_digests_are_found(system: Deployed) -> None:
    other = system.client("ecr", "sa-east-1", role=ADMIN)
    other.batch_delete_image(repositoryName=NAME, imageIds=[{"imageTag": "v1.0.0"}])
    dev = system.client("ecr")
    dev.batch_delete_image(repositoryName=NAME, imageIds=[{"imageTag": "v1.0.0"}])
    system.settle()
    system.push(b.image("another v1"), NAME, "v1.0.0")
    found = audit()
    assert set(found) >= {"release_gone", "tags_differ", "versions_differ"}
    (gone,) = found["release_gone"]
    assert gone["where"] == str(system.place(NAME, "prod", 2))
    assert gone["since"]
    (differs,) = found["versions_differ"]
    assert differs["where"] == "dev, prod"
