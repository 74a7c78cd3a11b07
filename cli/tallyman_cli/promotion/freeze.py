"""`tallyman freeze` and `thaw`: stop and resume promotions into an environment or repository."""

from collections.abc import Iterable
from typing import Annotated

from tallyman.domain.history.facts import Fact
from tallyman.domain.names import parse_repository_name
from tallyman.errors import BadInput
from tallyman_cli.shared import asking, context, options, output
from tallyman_cli.shared.options import argument

Place = Annotated[
    str, argument("ENVIRONMENT[/REPOSITORY]", "prod, or one repository of it: prod/rocketseat/widget-server.")
]


@options.by_policy
def freeze(
    place: Place,
    because: asking.Because,
    no_wait: asking.NoWait = False,
    timeout: options.Timeout = 60,
) -> None:
    """Freeze an environment, or one of its repositories: promotions wait until you thaw it.

    Exit status: 0 frozen (--no-wait: requested); 1 refused; 2 bad input.
    """
    _say("freeze", place, because, no_wait, timeout)


@options.by_policy
def thaw(
    place: Place,
    because: asking.Because = "",
    no_wait: asking.NoWait = False,
    timeout: options.Timeout = 60,
) -> None:
    """End a freeze: pending promotions continue.

    A freeze of an environment and a freeze of one of its repositories end separately.

    Exit status: 0 thawed (--no-wait: requested); 1 refused; 2 bad input.
    """
    _say("thaw", place, because or "promotions resume", no_wait, timeout)


def _say(command: str, place: str, because: str, no_wait: bool, timeout: float) -> None:
    opened = context.connect()
    environment, _, name = place.partition("/")
    opened.policy.environment(environment)
    if place.endswith("/") or ":" in name or "@" in name:
        raise BadInput(f"'{place}' is not a place to {command}: expected prod, or prod/rocketseat/widget-server")
    repository = parse_repository_name(name) if name else None
    where = {"environment": environment, "repository": repository}

    def facts() -> Iterable[Fact]:
        yield from opened.ledger.of_environment(environment, repository)
        if repository:
            yield from opened.ledger.of_environment(environment)  # a refusal is recorded there

    body = {"command": command, **where, "because": because}
    asked = asking.ask(opened, body, timeout=timeout, wait=not no_wait, facts=facts)
    if output.is_json():
        frozen = command == "freeze" if asked.done else None
        output.data({**where, "frozen": frozen, "because": because, **asked.as_json})
    elif asked.done:
        output.line(f"{place} is {'frozen' if command == 'freeze' else 'thawed'}: {because}")
    asking.finish(asked)
