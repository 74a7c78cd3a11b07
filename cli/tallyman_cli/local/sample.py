"""`tallyman local sample`: pushes an image to the local cloud, without Docker and without a network."""

from typing import Annotated

import typer

from tallyman.errors import BadInput
from tallyman_cli.local.running import endpoint


def sample(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="Where: ENVIRONMENT/REPOSITORY:TAG.")
    ] = "dev/rocketseat/widget-server:v1.0.0",
) -> None:
    """Push a small image for two platforms; the same tag gives the same digest.

    The repository has to exist. Exit status: 0 pushed, 1 refused, 2 bad input.
    """
    from tallyman_cli.shared import addresses, context, output
    from tallyman_local.cloud.sample import widget_server

    endpoint()  # not to a stack on AWS
    stack = context.connect()
    named = addresses.image(stack.policy, image)
    if named.tag is None:
        raise BadInput(f"{image} has no tag: expected ENVIRONMENT/REPOSITORY:TAG")
    made, place = widget_server(named.tag.removeprefix("v")), named.place
    for digest in stack.target.missing_blobs(place, made.blobs):
        stack.target.upload(place, digest, len(made.blobs[digest]), [made.blobs[digest]])
    for child in made.children:
        stack.target.put_manifest(place, child)
    stack.target.put_manifest(place, made.root, named.tag)
    output.line(f"{addresses.address(stack.policy, place)}:{named.tag}")
