"""boto3 clients of a local cloud, with any credentials."""

from collections.abc import Mapping
from typing import Any

import boto3


def client_of(url: str, keys: Mapping[str, str], service: str, region: str = "us-east-2", **options: Any) -> Any:
    """A client of the cloud at this URL. `keys` as in an environment: AWS_ACCESS_KEY_ID and its companions."""
    make: Any = boto3.client  # boto3's overloads take only literal service names
    return make(
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys["AWS_SESSION_TOKEN"],
        **options,
    )
