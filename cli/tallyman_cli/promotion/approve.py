"""`tallyman approve` and `deny`: a person's approval or denial of one promotion candidate."""

from tallyman_cli.promotion import candidates
from tallyman_cli.promotion.why import To
from tallyman_cli.shared import asking, context, options, output


@options.by_policy
def approve(
    image: options.Image,
    to: To,
    because: asking.Because,
    no_wait: asking.NoWait = False,
    timeout: options.Timeout = 60,
) -> None:
    """Approve an image for an environment. The approval applies to its digest.

    It counts if you hold one of the gate's roles and did not push the image. The promotion then continues
    automatically.

    Exit status: 0 recorded (--no-wait: requested); 1 refused; 2 no promotion leads to that environment.
    """
    _say("approve", image, to, because, no_wait, timeout)


@options.by_policy
def deny(
    image: options.Image,
    to: To,
    because: asking.Because,
    no_wait: asking.NoWait = False,
    timeout: options.Timeout = 60,
) -> None:
    """Deny an image for an environment: its approvals fail until enough people approve it again.

    Whoever may approve may also deny.

    Exit status: 0 recorded (--no-wait: requested); 1 refused; 2 no promotion leads to that environment.
    """
    _say("deny", image, to, because, no_wait, timeout)


def _say(command: str, image: str, to: str, because: str, no_wait: bool, timeout: float) -> None:
    opened = context.connect()
    where = candidates.candidate(opened, image, to)
    body = {**candidates.as_command(where), "command": command, "because": because}
    asked = asking.ask(opened, body, timeout=timeout, wait=not no_wait)
    decision = candidates.evaluate(opened, where)
    if output.is_json():
        output.data({**candidates.as_json(where, decision), "command": command, **asked.as_json})
    elif asked.done:
        output.line(f"{'approved' if command == 'approve' else 'denied'}: {candidates.sentence(where, decision)}")
    asking.finish(asked)
