"""`tallyman release`: what environments run and ran, and rolling a release back."""

from typing import Annotated, Any

import typer

from tallyman.domain.history.details.releases import Released
from tallyman.domain.history.facts import Fact
from tallyman.domain.names import ImageName
from tallyman.domain.people import person_of_sender
from tallyman.domain.policy import Environment
from tallyman.domain.times import format_time
from tallyman.errors import BadInput, NotFound
from tallyman.services.releases.pointer import releases
from tallyman.services.releases.rollout_progress import recorded_rollouts, rollouts_of
from tallyman_cli.promotion import rollouts
from tallyman_cli.promotion.roll_back import RollBack, is_recalled
from tallyman_cli.shared import asking, context, options, output
from tallyman_cli.shared.options import argument, option

app = typer.Typer(help="Show what environments run and ran; roll back.", no_args_is_help=True)

Repository = Annotated[
    str, argument("ENVIRONMENT/REPOSITORY", "The repository, such as prod/rocketseat/widget-server.")
]


@app.command("list")
@options.by_policy
def list_(
    environment: Annotated[str, argument("ENVIRONMENT", "The environment, such as prod.")],
) -> None:
    """List what an environment runs.

    Prints a row for each repository that was ever released to the environment.
    """
    opened = context.connect()
    place = opened.policy.environment(environment)
    found: list[dict[str, Any]] = [
        {
            "environment": place.name,
            "repository": release.sk,
            "digest": release.value.digest,
            "tags": list(release.value.tags),
            "at": format_time(release.value.at),
            "previous": release.value.previous,
            "change": release.value.change,
            "recalled": is_recalled(opened, release.value.digest),
            "rollout": rollout,
        }
        for release, rollout in rollouts_of(opened.policy, opened.state, place.name)
    ]
    if output.is_json():
        output.data(found)
    elif not found:
        output.line(f"nothing was released to {place.name} yet")
    else:
        output.table(
            {
                "repository": row["repository"],
                "runs": ", ".join(row["tags"]),
                "digest": row["digest"],
                "since": row["at"],
                "rollout": row["rollout"]["status"].replace("_", " ") if row["rollout"] else None,
                "": "recalled" if row["recalled"] else "rolled back" if row["change"] == "roll_back" else None,
            }
            for row in found
        )


@app.command("show")
@options.by_policy
def show(repository: Repository, at: options.At = None) -> None:
    """Show what an environment runs of a repository.

    With --at, shows what it ran then. Also shows what it ran before. If releases move services (`rollout` in the
    policy), also shows each service in each registry: whether its rollout has not begun, is running, is done, has
    failed and why, or was rolled back and to what.

    Exit status: 0 shown; 1 nothing was released there (by then); 2 bad input.
    """
    moment = options.moment(at)
    opened = context.connect()
    options.note_future(moment, opened.clock())
    environment, name = _named(opened, repository)
    history = list(releases(opened.ledger, environment.name, name, moment))
    if not history:
        then = f" at {output.when(moment)}" if moment else ""
        raise NotFound(f"{environment.name} ran nothing of {name}{then}")
    # How each rollout ended: done, failed, or running if another release overtook it; None: it was not begun.
    outcomes = recorded_rollouts(opened.ledger, environment.name, name, moment)
    digest, released = history[0].digest, Released.parse(history[0])
    assert digest is not None  # of every release
    data = {
        "environment": environment.name,
        "repository": name,
        **_row(history[0]),
        "images": released.images,
        "previous": released.previous,
        "decision": released.decision,
        "recalled": is_recalled(opened, digest, moment),
        "rollout": rollouts.of_release(opened, environment, name, released.id, moment),
        "history": [
            _row(fact) | {"rollout": outcomes.get(Released.parse(fact).id, {}).get("status")} for fact in history
        ],
    }
    if output.is_json():
        output.data(data)
        return
    output.line(f"{environment.name}/{name} {'ran' if moment else 'runs'} {', '.join(data['tags'])}  {data['digest']}")
    output.line(f"since {output.when(data['at'])}{', rolled back' if data['change'] == 'roll_back' else ''}{_by(data)}")
    if data["recalled"]:
        output.line("it is recalled")
    for registry, address in data["images"].items():
        output.line(f"  {registry}  {address}")
    if data["rollout"]:
        rollouts.show(data["rollout"])
    if len(history) > 1:
        output.line("before that:")
        output.table(
            {
                "since": row["at"],
                "tags": ", ".join(row["tags"]),
                "digest": row["digest"],
                "change": row["change"],
                "rollout": row["rollout"],
            }
            for row in data["history"][1:]
        )


@app.command("roll-back")
@options.by_policy
def roll_back(
    repository: Repository,
    to: Annotated[
        str | None,
        option(
            "--to TAG|DIGEST",
            "An image that was released or promoted there, by its tag or digest.",
            default="the last good release",
        ),
    ] = None,
    because: asking.Because = "no reason was given",
    no_wait: asking.NoWait = False,
    timeout: options.Timeout = 60,
) -> None:
    """Point a release back at an earlier image.

    Sends `Image Released`; tags do not change. --to also accepts an image that was promoted but not released, because
    the environment ran a newer version. The image must still be in every registry of the environment, and must not be
    recalled.

    Exit status: 0 rolled back (--no-wait: requested); 1 refused; 2 bad input.
    """
    opened = context.connect()
    environment, name = _named(opened, repository)
    back = RollBack(opened, environment.name, name)
    digest = back.target(to)
    asked = back.ask(digest, because, timeout=timeout, wait=not no_wait)
    if output.is_json():
        output.data({"environment": environment.name, "repository": name, "digest": digest, **asked.as_json})
    elif asked.done:
        runs = ", ".join(back.tags(digest))
        output.line(f"{environment.name}/{name} runs {f'{runs} ({output.digest(digest)})' if runs else digest} again")
    asking.finish(asked)


def _named(opened: context.Stack, text: str) -> tuple[Environment, str]:
    name = ImageName.parse_any(text)
    if name.tag or name.digest or name.environment is None:
        raise BadInput(
            f"'{text}' is not a release: expected ENVIRONMENT/REPOSITORY, as in prod/rocketseat/widget-server"
        )
    return opened.policy.environment(name.environment), name.repository


def _row(fact: Fact) -> dict[str, Any]:
    released = Released.parse(fact)
    return {
        "at": format_time(fact.at),
        "digest": fact.digest,
        "tags": list(released.tags),
        "change": released.change,
        "policy": released.policy,
        "by": released.by,
        "because": released.because,
    }


def _by(data: dict[str, Any]) -> str:
    if not data["by"]:
        return ""
    return f" by {person_of_sender(data['by'])}" + (f": {data['because']}" if data["because"] else "")
