"""Regions, suffixes and partitions come from botocore."""

import botocore.session
import pytest

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.files.policy_file import loads
from tallyman.domain.names import EcrRegistry, ImageName, Repository
from tallyman.domain.partitions import partition_of, partitions, regions
from tallyman.errors import BadName, PolicyError

ACCOUNT = "111111111111"
PLACES = [
    ("us-east-2", "aws", "amazonaws.com", "on.aws"),
    ("cn-north-1", "aws-cn", "amazonaws.com.cn", "on.amazonwebservices.com.cn"),
    ("us-gov-west-1", "aws-us-gov", "amazonaws.com", "on.aws"),
    ("eusc-de-east-1", "aws-eusc", "amazonaws.eu", "on.amazonwebservices.eu"),
    ("us-iso-east-1", "aws-iso", "c2s.ic.gov", "on.aws.ic.gov"),
    ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov", "on.aws.scloud"),
]


@pytest.mark.parametrize(("region", "partition", "suffix", "dual_stack"), PLACES)
def test_a_region_has_its_partitions_names(region: str, partition: str, suffix: str, dual_stack: str) -> None:
    registry = EcrRegistry.parse(f"{ACCOUNT}/{region}")
    assert registry.host == f"{ACCOUNT}.dkr.ecr.{region}.{suffix}"
    assert Repository(registry, "shop/app").arn == f"arn:{partition}:ecr:{region}:{ACCOUNT}:repository/shop/app"
    assert Clients(registry, "tallyman", "x").role(ACCOUNT, "read").startswith(f"arn:{partition}:iam::")
    for host in (registry.host, f"{ACCOUNT}.dkr-ecr.{region}.{dual_stack}"):
        assert EcrRegistry.parse(host) == registry
        assert ImageName.parse(f"{host}/shop/app:v1").registry == registry
    assert Repository.parse(Repository(registry, "shop/app").arn).registry == registry


@pytest.mark.parametrize("region", ["us-east-2", "cn-north-1", "eusc-de-east-1", "us-iso-east-1"])
def test_a_host_with_another_partitions_suffix_is_no_registry(region: str) -> None:
    for suffix in {p.suffix for p in partitions()} - {partition_of(region).suffix}:
        with pytest.raises(BadName):
            EcrRegistry.parse(f"{ACCOUNT}.dkr.ecr.{region}.{suffix}")


def test_partitions_are_those_of_botocore() -> None:
    session = botocore.session.get_session()
    assert {p.name for p in partitions()} == set(session.get_available_partitions())
    assert partitions()[0].name == "aws"
    for partition in partitions():
        for region in partition.regions:
            assert session.get_partition_for_region(region) == partition.name
            assert partition_of(region) is partition
        for service in ("ec2", "s3"):  # a region is wherever a service is
            found = session.get_available_regions(service, partition_name=partition.name)
            assert set(found) <= partition.regions


def test_a_region_newer_than_botocore_gets_its_neighbours_partition() -> None:
    assert partition_of("us-north-9").name == "aws"
    assert partition_of("cn-south-9").name == "aws-cn"
    assert partition_of("xx-nowhere-1").name == "aws"


def policy(region: str) -> bytes:
    return f"environments:\n  dev:\n    registries: [111111111112/us-east-2, {ACCOUNT}/{region}]\n".encode()


@pytest.mark.parametrize(
    ("region", "meant"), [("us-esat-2", "us-east-2"), ("eu-wset-1", "eu-west-1"), ("sa-east-11", "sa-east-1")]
)
def test_an_unknown_region_is_a_policy_error_with_a_suggestion(region: str, meant: str) -> None:
    with pytest.raises(PolicyError) as error:
        loads(policy(region), "tallyman.yaml")
    assert "tallyman.yaml:3" in str(error.value)
    assert f"AWS has no region {region} (did you mean '{meant}'?)" in str(error.value)


@pytest.mark.parametrize("region", regions())
def test_every_aws_region_is_valid_in_a_policy(region: str) -> None:
    assert loads(policy(region), "tallyman.yaml").environments
