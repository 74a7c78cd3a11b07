"""`tallyman local sample`: pushes an image to the local cloud, without Docker and without a network."""

from typing import TYPE_CHECKING, Annotated

from tallyman.domain.names import Repository
from tallyman.errors import BadInput
from tallyman_cli.local.running import endpoint
from tallyman_cli.shared.options import argument

if TYPE_CHECKING:
    from tallyman_cli.shared.context import Stack
    from tallyman_local.cloud.sample import Sample


def sample(
    image: Annotated[
        str, argument("IMAGE", "The image to push: ENVIRONMENT/REPOSITORY:TAG.")
    ] = "dev/rocketseat/widget-server:v1.0.0",
) -> None:
    """Push a small image for two platforms. The same tag gives the same digest.

    The repository must exist.

    Exit status: 0 pushed; 1 refused; 2 bad input.
    """
    from tallyman_cli.shared import addresses, context, output
    from tallyman_local.cloud.sample import widget_server

    endpoint()  # not to a stack on AWS
    stack = context.connect()
    named = addresses.image(stack.policy, image)
    if named.tag is None:
        raise BadInput(f"{image} has no tag: expected ENVIRONMENT/REPOSITORY:TAG")
    push(stack, named.place, widget_server(named.tag.removeprefix("v")), named.tag)
    output.line(f"{addresses.address(stack.policy, named.place)}:{named.tag}")


def push(stack: "Stack", place: Repository, made: "Sample", *tags: str) -> None:
    """Push the blobs that are missing, the platform images, and under each tag the index."""
    for digest in stack.target.missing_blobs(place, made.blobs):
        stack.target.upload(place, digest, len(made.blobs[digest]), [made.blobs[digest]])
    for child in made.children:
        stack.target.put_manifest(place, child)
    for tag in tags:
        stack.target.put_manifest(place, made.root, tag)
