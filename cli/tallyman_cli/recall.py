"""`tallyman recall`: an image is blocked everywhere, for ever."""

from tallyman.errors import BadInput
from tallyman_cli import asking, context, naming, options, output


def recall(
    image: options.Image,
    because: asking.Because,
    no_wait: asking.NoWait = False,
    timeout: options.Timeout = 60,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """Recall an image by its digest: from now on it, and every index above it, is refused by every environment.

    There is no way back: what was recalled by mistake is built anew. Exit status: 0 recalled (--no-wait: asked for),
    1 refused, 2 bad input.
    """
    opened = context.connect(stack, policy)
    named = naming.image(opened.policy, image)
    if named.digest is None:
        digest = naming.digest_of(opened, named)
        raise BadInput(f"a recall is of a digest, for good: {image} is {image.rpartition(':')[0]}@{digest}")
    body = {"command": "recall", "digest": named.digest, "because": because}
    asked = asking.ask(opened, body, asking.of_digest(opened, named.digest), timeout=timeout, wait=not no_wait)
    if output.is_json():
        output.data({"image": image, "digest": named.digest, "because": because, **asked.as_json})
    elif asked.fact is not None and not asked.trouble:
        output.line(f"{image} is recalled: {because}")
    asking.finish(asked)
