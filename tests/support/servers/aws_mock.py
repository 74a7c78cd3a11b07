"""moto in this process, with the tables as template.yaml defines them, for the contract tests of adapters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from moto import mock_aws

from support.stacks.templates import hub
from tallyman.adapters.aws.sessions import new_session

REGION = "us-east-2"


@contextmanager
def aws() -> Iterator[None]:
    """moto's cloud and its credentials; without this machine's configuration."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with mock_aws():
            yield


def client(service: str) -> Any:
    """A client of moto's cloud."""
    return new_session().create_client(service, region_name=REGION)


def table(logical_id: str, name: str) -> str:
    """Create a table with the keys and indexes of the template's; return its name."""
    properties = hub()["Resources"][logical_id]["Properties"]
    keys = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    client("dynamodb").create_table(TableName=name, **{k: properties[k] for k in keys if k in properties})
    return name
