"""`tallyman release`: what environments run and ran, and rolling a release back."""

from datetime import datetime
from typing import Annotated, Any

import typer

from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.decisions import Destination
from tallyman.domain.history.details.releases import Released
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest, ImageName, parse_tag
from tallyman.domain.people import person_of_sender
from tallyman.domain.policy import Environment
from tallyman.domain.times import format_time
from tallyman.errors import BadInput, NotFound, Refused
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.services.releases.pointer import releases
from tallyman.services.releases.rollout_progress import recorded_roll_outs, roll_outs_of
from tallyman.state import tags
from tallyman.state.releases import RELEASES, key
from tallyman.state.tags import TAGS
from tallyman_cli.promotion import rollouts as roll_outs
from tallyman_cli.shared import asking, context, options, output
from tallyman_cli.shared.waiting import wait_for
from tallyman_cli.views.record import is_recalled

app = typer.Typer(help="What environments run: list, show, roll back.", no_args_is_help=True)

Repository = Annotated[
    str,
    typer.Argument(metavar="ENVIRONMENT/REPOSITORY", help="Such as prod/rocketseat/widget-server.", show_default=False),
]


@app.command("list")
def list_(
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="Such as prod.", show_default=False)],
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """List what an environment runs: a row for each repository that was ever released to it."""
    opened = context.connect(stack, policy)
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
            "recalled": _is_recalled(opened, release.value.digest),
            "rollout": rollout,
        }
        for release, rollout in roll_outs_of(opened.policy, opened.state, place.name)
    ]
    if as_json:
        output.data(found)
    elif not found:
        output.line(f"nothing was released to {place.name} yet")
    else:
        output.table(
            ("repository", "runs", "digest", "since", "roll-out", ""),
            [
                (
                    row["repository"],
                    ", ".join(row["tags"]),
                    output.digest(row["digest"]),
                    row["at"],
                    row["rollout"]["status"].replace("_", " ") if row["rollout"] else "",
                    "recalled" if row["recalled"] else "rolled back" if row["change"] == "roll_back" else "",
                )
                for row in found
            ],
        )


@app.command("show")
def show(
    repository: Repository,
    at: options.At = None,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """Show what an environment runs of a repository, or ran at a moment, and what it ran before that.

    If releases move services (`rollout` in the policy), shows for each service in each registry whether the roll-out
    has not begun, is running, is done, has failed and why, or was rolled back and to what.

    Exit status: 0 shown, 1 nothing was released there (by then), 2 bad input.
    """
    moment = options.moment(at)
    opened = context.connect(stack, policy)
    environment, name = _named(opened, repository)
    history = list(releases(opened.ledger, environment.name, name, moment))
    if not history:
        then = f" at {output.when(moment)}" if moment else ""
        raise NotFound(f"{environment.name} ran nothing of {name}{then}")
    # How each roll-out ended: done, failed, or running if another release overtook it; None: it was not begun.
    outcomes = recorded_roll_outs(opened.ledger, environment.name, name, moment)
    released = Released.parse(history[0])
    data = {
        "environment": environment.name,
        "repository": name,
        **_row(history[0]),
        "images": released.images,
        "previous": released.previous,
        "decision": released.decision,
        "recalled": _is_recalled(opened, _digest(history[0]), moment),
        "rollout": roll_outs.of_release(opened, environment, name, released.id, moment),
        "history": [
            _row(fact) | {"rollout": outcomes.get(Released.parse(fact).id, {}).get("status")} for fact in history
        ],
    }
    if as_json:
        output.data(data)
        return
    output.line(f"{environment.name}/{name} {'ran' if moment else 'runs'} {', '.join(data['tags'])}  {data['digest']}")
    output.line(f"since {output.when(data['at'])}{', rolled back' if data['change'] == 'roll_back' else ''}{_by(data)}")
    if data["recalled"]:
        output.line("it is recalled")
    for registry, address in data["images"].items():
        output.line(f"  {registry}  {address}")
    if data["rollout"]:
        roll_outs.show(data["rollout"])
    if len(history) > 1:
        output.line("before that:")
        output.table(
            ("since", "tags", "digest", "change", "roll-out"),
            [
                (r["at"], ", ".join(r["tags"]), output.digest(r["digest"]), r["change"], r["rollout"] or "")
                for r in data["history"][1:]
            ],
        )


@app.command("roll-back")
def roll_back(  # noqa: PLR0913 - each argument is an option of the command
    repository: Repository,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TAG|DIGEST",
            help="An image that was released or promoted there, by its tag or digest.",
            show_default="the last good release",
        ),
    ] = None,
    because: asking.Because = "no reason was given",
    no_wait: asking.NoWait = False,
    timeout: options.Timeout = 60,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """Point a release back at an earlier image and send `Image Released`; tags do not change.

    With --to also to an image that was promoted but not released, because the environment ran a newer version.
    The image must still be in every registry of the environment, and must not be recalled.
    Exit status: 0 rolled back (--no-wait: requested), 1 refused, 2 bad input.
    """
    opened = context.connect(stack, policy)
    environment, name = _named(opened, repository)
    digest = target_of(opened, environment.name, name, to)
    asked = ask(opened, environment.name, name, digest, because, timeout=timeout, wait=not no_wait)
    if as_json:
        output.data({"environment": environment.name, "repository": name, "digest": digest, **asked.as_json})
    elif asked.done:
        runs = ", ".join(tags_of(opened, environment.name, name, digest))
        output.line(f"{environment.name}/{name} runs {f'{runs} ({output.digest(digest)})' if runs else digest} again")
    asking.finish(asked)


def target_of(opened: context.Stack, environment: str, name: str, to: str | None = None) -> Digest:
    """The digest to roll back to: what was released or promoted as `to` (a tag or digest), without it the last release
    that is not recalled. Raises NotFound; Refused where the environment runs it already."""
    in_force = RELEASES.get(opened.state, key(environment, name))
    if in_force is None:
        raise NotFound(f"{environment} runs nothing of {name}: there is nothing to roll back")
    now = in_force.digest
    found = Digest.parse(to) if to and ":" in to else None
    tag = parse_tag(to) if to and found is None else None
    for fact in releases(opened.ledger, environment, name):
        digest = _digest(fact)
        if (found and digest == found) or (tag and tag in Released.parse(fact).tags):
            if digest == now:
                raise Refused(f"{environment} runs {to} of {name} already")
            return digest
        if not to and digest != now and not _is_recalled(opened, digest):
            return digest
    for brought in {found} if found else _tagged(opened, environment, name, tag):
        if brought != now and _was_promoted(opened, brought, environment, name):
            return brought
    what = f"{to} of {name} was never promoted to {environment}" if to else f"nothing else of {name} is good in it"
    raise NotFound(what if to else f"{environment}: {what}, as far as is known")


def tags_of(opened: context.Stack, environment: str, name: str, digest: Digest) -> list[str]:
    """The tags with which the digest was last released there; none if it never was."""
    newest = (fact for fact in releases(opened.ledger, environment, name) if fact.digest == digest)
    return next((list(Released.parse(fact).tags) for fact in newest), [])


def _tagged(opened: context.Stack, environment: str, name: str, tag: str | None) -> set[Digest]:
    """The digests that the tag points to in the registries of the environment, by the state."""
    places = opened.policy.environment(environment).repositories(name) if tag else ()
    found = (TAGS.get(opened.state, tags.key(place, str(tag))) for place in places)
    return {there.digest for there in found if there is not None and there.digest is not None}


def _was_promoted(opened: context.Stack, digest: Digest, environment: str, name: str) -> bool:
    facts = opened.ledger.of_digest(digest)
    return any(f.kind is Kind.PROMOTED and Destination.parse(f) == Destination(environment, name) for f in facts)


def ask(  # noqa: PLR0913 - each argument is an option of the command
    opened: context.Stack,
    environment: str,
    name: str,
    digest: Digest,
    because: str,
    *,
    timeout: float,
    wait: bool = True,
) -> asking.Asked:
    """Sends the command, and waits until the release is set or refused, `timeout` seconds at most."""
    of = {"digest": digest, "repository": name, "environment": environment}
    body = {"command": "roll-back", **of, "because": because}
    asked = asking.ask(opened, body, asking.of_digest(opened, digest), timeout=timeout, wait=wait)
    if not asked.done:
        return asked
    done = wait_for(opened, lambda: _outcome(opened, digest, asked.request), timeout)
    if done is None:
        return asking.Asked(asked.request, asked.fact, f"not rolled back within {timeout:g} s: it may still happen")
    return asking.Asked.of(asked.request, done)


def _outcome(opened: context.Stack, digest: Digest, request: str) -> Fact | None:
    mine = [f for f in opened.ledger.of_digest(digest) if Said.parse(f).request == request]
    refused = next((f for f in mine if f.kind is Kind.REQUESTED and Said.parse(f).refused), None)
    return refused or next((f for f in mine if f.kind is Kind.ROLLED_BACK), None)


def _named(opened: context.Stack, text: str) -> tuple[Environment, str]:
    name = ImageName.parse_any(text)
    if name.tag or name.digest or name.environment is None:
        raise BadInput(
            f"'{text}' is not a release: expected ENVIRONMENT/REPOSITORY, as in prod/rocketseat/widget-server"
        )
    return opened.policy.environment(name.environment), name.repository


def _is_recalled(opened: context.Stack, digest: Digest, moment: datetime | None = None) -> bool:
    return is_recalled(load_image_facts(opened.ledger, opened.state, digest), moment)


def _digest(fact: Fact) -> Digest:
    assert fact.digest is not None  # of every release
    return fact.digest


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
