"""What the shortened import of moto leaves out is not missed."""

import boto3
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

from tallyman_local.moto import imported as imported


def test_moto_knows_all_regions_although_it_does_not_read_the_model_of_ec2() -> None:
    known = [
        region
        for partition in ("aws", "aws-us-gov", "aws-cn")
        for region in boto3.Session().get_available_regions("ec2", partition_name=partition)
    ]
    assert len(known) > 30
    assert [region.name for region in RegionsAndZonesBackend.regions] == known
