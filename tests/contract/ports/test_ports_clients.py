"""Clients of other accounts, and the settings from which everything is wired."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError
from botocore.loaders import JSONFileLoader

from support.images.builders import DEV, PROD, PROD_SA
from support.servers import aws_mock
from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.sessions import new_session
from tallyman.adapters.ecr.view import EcrView
from tallyman.domain.names import EcrRegistry
from tallyman.errors import BadInput, NotAllowed, Unreachable
from tallyman.settings import Settings
from tallyman_cli.shared.own_clients import PeopleClients

HUB = DEV.registry


@pytest.fixture
def clients() -> Iterator[Clients]:
    with aws_mock.aws():
        yield Clients(HUB, "tallyman", "promote_image")


def test_the_hubs_account_is_reached_with_its_own_credentials(clients: Clients) -> None:
    found = clients.get("sts")
    assert found.meta.region_name == HUB.region
    assert found._request_signer._credentials.access_key == os.environ["AWS_ACCESS_KEY_ID"]
    assert clients.get("ecr", EcrRegistry(HUB.account, "sa-east-1"), "push").meta.region_name == "sa-east-1"


def test_another_account_is_reached_by_the_role_of_its_kind(clients: Clients) -> None:
    assumed: list[dict[str, Any]] = []
    clients.get("sts").meta.events.register(
        "provide-client-params.sts.AssumeRole", lambda params, **_: assumed.append(params)
    )
    for power in ("read", "push"):
        client = clients.get("ecr", PROD.registry, power)
        assert assumed == assumed[:1] or power == "push"  # no role is assumed before it is needed
        client.describe_repositories()
    assert [a["RoleArn"] for a in assumed] == [
        f"arn:aws:iam::222222222222:role/tallyman-spoke-{power}" for power in ("read", "push")
    ]
    assert {a["RoleSessionName"] for a in assumed} == {"tallyman-promote_image"}


def test_a_role_is_assumed_once_for_all_regions_and_services(clients: Clients) -> None:
    assumed: list[dict[str, Any]] = []
    clients.get("sts").meta.events.register(
        "provide-client-params.sts.AssumeRole", lambda params, **_: assumed.append(params)
    )
    for registry in (PROD.registry, PROD_SA.registry):
        for service in ("ecr", "dynamodb"):
            client = clients.get(service, registry)
            client.describe_repositories() if service == "ecr" else client.list_tables()
    assert len(assumed) == 1


def test_a_client_is_made_once_also_for_threads_that_ask_together(clients: Clients) -> None:
    barrier, found = threading.Barrier(8), list[Any]()

    def ask() -> None:
        barrier.wait()
        found.append(clients.get("ecr", PROD.registry))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(client) for client in found}) == 1


def test_in_the_hubs_account_every_role_kind_uses_the_same_client(clients: Clients) -> None:
    assert clients.get("ecr", HUB, "read") is clients.get("ecr", HUB, "push")
    assert clients.get("ecr", PROD.registry, "read") is not clients.get("ecr", PROD.registry, "push")


@pytest.mark.parametrize(
    ("region", "partition"), [("us-east-2", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_a_roles_arn_has_the_hubs_partition(region: str, partition: str) -> None:
    clients = Clients(EcrRegistry("111111111111", region), "tallyman", "x")
    assert clients.role("222222222222", "push") == f"arn:{partition}:iam::222222222222:role/tallyman-spoke-push"


def test_the_session_name_is_valid_for_sts() -> None:
    assert len(Clients(HUB, "tallyman", "f" * 100)._session_name) == 64


def test_a_role_that_cannot_be_assumed_is_a_permission_error_with_its_name(clients: Clients) -> None:
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, "AssumeRole")

    clients.get("sts").meta.events.register("provide-client-params.sts.AssumeRole", refuse)
    with pytest.raises(NotAllowed, match="role/tallyman-spoke-read"):
        EcrView(clients).settings(PROD)


def test_people_assume_their_own_roles_by_the_kind_of_action() -> None:
    with aws_mock.aws():
        clients, assumed = PeopleClients(HUB, "tallyman"), list[str]()
        clients.get("sts").meta.events.register(
            "provide-client-params.sts.AssumeRole", lambda params, **_: assumed.append(params["RoleArn"])
        )
        for power in ("read", "push", "remove"):
            clients.get("ecr", PROD.registry, power).describe_repositories()
        clients.get("ecr", HUB, "push").describe_repositories()
    role = "arn:aws:iam::222222222222:role/tallyman-spoke-people"
    assert assumed == [role, f"{role}-change", f"{role}-change"]
    assert clients.promoter("222222222222").endswith("role/tallyman-spoke-push")  # the promotion role is unchanged


def test_advice_for_people_is_added_only_to_permission_errors() -> None:
    clients = PeopleClients(HUB, "tallyman")
    role = clients.assumed("222222222222", "push")
    message = str(clients.not_assumed(role, NotAllowed("no")))
    assert all(word in message for word in (role, "222222222222", "PeopleChangeRoles", "PeoplePolicyArn"))
    passing = Unreachable("later")
    assert clients.not_assumed(role, passing) is passing


def test_settings_are_read_from_the_environment() -> None:
    found = Settings.from_environment(
        {
            "TALLYMAN_STACK": "tallyman",
            "TALLYMAN_HUB": "111111111111/us-east-2",
            "TALLYMAN_POLICY": "/opt/tallyman.yaml",
            "TALLYMAN_VERIFY_QUEUE": "https://queue/verify",
            "TALLYMAN_PUT_RATE": "2.5",
            "TALLYMAN_BUS": " ",
            "OTHER": "x",
        }
    )
    assert (found.stack, found.hub, found.policy) == ("tallyman", HUB, Path("/opt/tallyman.yaml"))
    assert (found.put_rate, found.promote_concurrency) == (2.5, 1)
    assert found.queues == {"verify": "https://queue/verify"}
    assert found.bus is None
    assert found.require("stack") == "tallyman"


def test_a_missing_setting_is_named_by_its_variable() -> None:
    with pytest.raises(BadInput, match="TALLYMAN_LEDGER_TABLE"):
        Settings.from_environment({}).require("ledger_table")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TALLYMAN_HUB", "111111111111"),
        ("TALLYMAN_PUT_RATE", "fast"),
        ("TALLYMAN_PUT_RATE", "-1"),
        ("TALLYMAN_PUT_RATE", "nan"),
        ("TALLYMAN_TRAIL_RATE", "inf"),
        ("TALLYMAN_PROMOTE_CONCURRENCY", "0"),
    ],
)
def test_an_invalid_setting_is_named_by_its_variable(variable: str, value: str) -> None:
    with pytest.raises(BadInput, match=variable):
        Settings.from_environment({variable: value})


def test_every_field_of_the_settings_has_a_variable() -> None:
    from dataclasses import fields

    empty = Settings()
    for field in fields(Settings):
        if getattr(empty, field.name) is None:
            with pytest.raises(BadInput, match=r"TALLYMAN_|AWS_LAMBDA"):
                empty.require(field.name)


def test_the_model_of_a_service_is_read_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    new_session().create_client("codebuild", region_name="us-east-2")
    read = mock.Mock(side_effect=AssertionError("read again"))
    monkeypatch.setattr(JSONFileLoader, "load_file", read)
    new_session({"region": "eu-west-1"}).create_client("codebuild", region_name="us-east-2")
    read.assert_not_called()
