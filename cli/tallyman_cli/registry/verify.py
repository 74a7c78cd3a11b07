"""`tallyman verify`: has the stack verify an image's bytes now, and shows the result."""

import typer

from tallyman.errors import Unreachable
from tallyman_cli.registry import verification
from tallyman_cli.shared import context, options, output


def verify(
    image: options.Image,
    timeout: options.Timeout = 300,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """Verify an image by its bytes now, as the policy asks: digests, sizes, layers, platforms, tag.

    The stack's verify_digest checks it and records the verdict; this command waits for it.
    Exit status: 0 passed, 1 failed, unknown, or no verdict in time.
    """
    found = verification.ask(context.connect(stack, policy), image, timeout)
    if found is None:
        raise Unreachable(
            f"no verdict on {image} within {timeout:g} s. It may still come, and then `tallyman show {image}` has it; "
            "a request that failed is in the dead-letter queue of verify_digest with its reason"
        )
    if as_json:
        output.data(found)
    else:
        output.line(f"{found['repository']}@{output.digest(found['digest'])}: {found['verdict']}")
        output.line()
        output.table(("check", "verdict", "what"), verification.table(found["checks"]))
    if found["verdict"] != "passed":
        raise typer.Exit(1)
