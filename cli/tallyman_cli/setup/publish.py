"""`make publish`: puts the packaged template into a bucket, and prints how to launch and publish it."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import botocore.session

from tallyman import __version__
from tallyman.adapters.errors.translate import translated
from tallyman.domain.partitions import partition_of
from tallyman.errors import BadInput, TallymanError

FOLDER = "tallyman"
CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-us-gov": "console.amazonaws-us-gov.com",
    "aws-cn": "console.amazonaws.cn",
}


def address(bucket: str, key: str, region: str) -> str:
    """The URL from which CloudFormation reads an object of the bucket."""
    return f"https://{bucket}.s3.{region}.{partition_of(region).suffix}/{key}"


def launch_link(template: str, region: str) -> str:
    """The console's page that creates a stack from a template, with a form for its parameters. Raises BadInput if no
    console is known for the region."""
    host = CONSOLES.get(partition_of(region).name)
    if host is None:
        raise BadInput(f"there is no known console for {region}: create the stack from {template} yourself")
    asked = urlencode({"templateURL": template, "stackName": "tallyman"})
    return f"https://{host}/cloudformation/home?region={region}#/stacks/quickcreate?{asked}"


def module(template: str) -> str:
    """The lines that use the Terraform module with a template. HOST, OWNER and TAG are for the person to fill in."""
    source = "git::https://HOST/OWNER/tallyman.git//terraform?ref=TAG"
    return f'module "tallyman" {{\n  source       = "{source}"\n  template_url = "{template}"\n}}'


def publish(bucket: str, packaged: Path, session: Any) -> list[str]:
    """Upload the template under its version. Return texts that say how to use it. Raises BadInput, TallymanError."""
    if not packaged.is_file():
        raise BadInput(f"{packaged} is not there: make publish packages it")
    with translated(f"ask where the bucket {bucket} is"):
        found = session.create_client("s3").get_bucket_location(Bucket=bucket)["LocationConstraint"]
    region = {None: "us-east-1", "EU": "eu-west-1"}.get(found, found)
    key = f"{FOLDER}/{__version__}/template.yaml"
    with translated(f"put the template into the bucket {bucket}"):
        session.create_client("s3", region_name=region).put_object(
            Bucket=bucket, Key=key, Body=packaged.read_bytes(), ContentType="application/yaml"
        )
    template = address(bucket, key, region)
    return [
        f"template: {template}",
        f"launch: {launch_link(template, region)}",
        f"terraform:\n{module(template)}",
        f"Serverless Application Repository: sam publish --template {packaged} --region {region}",
    ]


def main(arguments: list[str]) -> int:
    """`BUCKET FILE`."""
    try:
        match arguments:
            case [bucket, file]:
                print("\n".join(publish(bucket, Path(file), botocore.session.get_session())))
            case _:
                raise BadInput("usage: publish BUCKET FILE")
    except TallymanError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
