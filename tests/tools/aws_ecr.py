"""The two calls of the `aws` command that buildspec.yml makes, for machines without aws-cli."""

import base64
import sys

import boto3


def main(words: list[str]) -> int:
    """`aws ecr get-login-password`, `aws ecr batch-get-image`."""
    options = dict(zip(words[2::2], words[3::2], strict=True))
    client = boto3.client("ecr", region_name=options["--region"])
    match words[:2]:
        case ["ecr", "get-login-password"]:
            (data,) = client.get_authorization_token()["authorizationData"]
            print(base64.b64decode(data["authorizationToken"]).decode().partition(":")[2])
        case ["ecr", "batch-get-image"]:
            digest = options["--image-ids"].removeprefix("imageDigest=")
            answer = client.batch_get_image(
                repositoryName=options["--repository-name"], imageIds=[{"imageDigest": digest}]
            )
            print(answer["images"][0]["imageId"]["imageDigest"] if answer["images"] else "None")
        case _:
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
