"""`tallyman check`: posts the result of another system's check of an image, for the gate `check`."""

from typing import Annotated

import typer

from tallyman.domain.events.commands import RESULTS
from tallyman.domain.gates.check import posters
from tallyman.errors import BadInput
from tallyman_cli.shared import addresses, asking, context, naming, options, output
from tallyman_cli.shared.options import argument, option

app = typer.Typer(help="Post results of checks of your own, for the gate `check`.", no_args_is_help=True)


@app.command("post")
@options.by_policy
def post(
    image: options.Image,
    name: Annotated[str, argument("NAME", "The check's name in the policy, such as e2e.")],
    because: asking.Because,
    passed: Annotated[bool | None, option("--passed/--failed", "The result of the check.")] = None,
    no_wait: asking.NoWait = False,
    timeout: options.Timeout = 60,
) -> None:
    """Post the result of a check of an image.

    The result applies to the image's digest in the named environment. It counts if you hold one of the roles that the
    policy names for the check; a later result replaces it.

    Exit status: 0 recorded (--no-wait: requested); 1 refused; 2 no promotion from that environment requires such a
    check.
    """
    if passed is None:
        raise BadInput("the result of the check is missing: give --passed or --failed")
    opened = context.connect()
    named = addresses.image(opened.policy, image)
    if named.environment is None or named.canonical is None:
        raise BadInput(f"{image} is in no environment of the policy: a check is about an image in an environment")
    environment, repository = named.environment.name, named.canonical
    if not posters(opened.policy.promotions_from(environment, repository), name):
        raise BadInput(f"no promotion of {repository} from {environment} asks for the check {name}")
    digest, result = naming.digest_of(opened, named), RESULTS[not passed]
    of = {"digest": digest, "repository": repository, "environment": environment}
    body = {"command": "check", **of, "check": name, "result": result, "because": because}
    asked = asking.ask(opened, body, timeout=timeout, wait=not no_wait)
    if output.is_json():
        output.data({"image": image, **of, "check": name, "result": result, "because": because, **asked.as_json})
    elif asked.done:
        output.line(f"{name} {result} for {image} ({digest.short}): {because}")
    asking.finish(asked)
