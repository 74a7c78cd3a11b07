"""Recognize services that a region does not have."""

from botocore.exceptions import EndpointConnectionError

from tallyman.adapters.aws.sessions import new_session
from tallyman.domain.partitions import partition_of
from tallyman.errors import Unreachable


def absent(service: str, region: str, error: Unreachable) -> bool:
    """Whether the endpoint was unreachable because the region does not have the service, by botocore's list of
    endpoints, which is read then."""
    if not isinstance(error.__cause__, EndpointConnectionError):
        return False
    return region not in new_session().get_available_regions(service, partition_of(region).name)
