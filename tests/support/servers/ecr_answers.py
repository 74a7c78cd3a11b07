"""How a registry's refusals are read in tests: the API's as boto3 raises them, `/v2/`'s as they are sent."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

NOWHERE = "sha256:" + "0" * 64
"""A digest that nothing has."""


def refusal(call: Any, **parameters: Any) -> tuple[str, str]:
    """Name and sentence of the error that a call of boto3's raises."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    found = caught.value.response["Error"]
    return found["Code"], found["Message"]


def error(answer: Any) -> tuple[int, str, str]:
    """Status, code and message of an OCI error."""
    found = json.loads(answer.data)["errors"][0]
    return answer.status, found["code"], found["message"]
