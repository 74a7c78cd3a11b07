"""`tallyman retention`: plans removals, carries them out, proves and undoes them, and replays the past."""

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from tallyman.adapters.files.prices import load as load_prices
from tallyman.domain.names import Repository
from tallyman.domain.times import format_time, parse_time
from tallyman.errors import NotFound, Refused, Unreachable
from tallyman.state.retention import RUNS, RetentionRun, run_key
from tallyman_cli.shared import addresses, context, naming, options, output
from tallyman_cli.shared.options import argument, option
from tallyman_cli.shared.waiting import wait_for

if TYPE_CHECKING:
    from tallyman.domain.retention.plan import Plan

app = typer.Typer(help="Plan and apply retention, prove and undo removals.", no_args_is_help=True)


Place = Annotated[
    str,
    argument(
        "REPOSITORY", "ENVIRONMENT/REPOSITORY, such as dev/rocketseat/widget-server; prod[2]/… is its second registry."
    ),
]


def one(stack: context.Stack, text: str) -> Repository:
    """The repository of one registry that a REPOSITORY means. Raises BadName if it is an image."""
    return addresses.repository(stack.policy, text).place


@app.command("plan")
@options.by_policy
def plan(repository: Place, prices: options.PriceFile = None) -> None:
    """Show what the policy would keep and remove now, and why. Writes nothing.

    Reads every source of usage. If one can't be read, nothing may be removed, and the plan names the source.

    Exit status: 0 planned; 1 the plan may not be carried out (a source can't be read, or it would remove more than
    at_most).
    """
    from tallyman_cli.retention.plan import as_data, make, show

    opened = context.connect()
    place = one(opened, repository)
    made, _ = make(opened, place)
    if output.is_json():
        output.data(as_data(made, load_prices(prices)))
    else:
        show(made, load_prices(prices), opened.clock())
    if made.refused:
        raise typer.Exit(1)


@app.command("apply")
@options.by_policy
def apply(
    repository: Place,
    yes: Annotated[bool, option("--yes", "Do not ask for confirmation.")] = False,
    timeout: options.Timeout = 600,
) -> None:
    """Carry out the plan.

    Marks images, and removes those that were marked longer ago than the grace period, each with a proof. Shows the plan
    and asks for confirmation, unless you give --yes or there is nothing to remove. The stack's function apply_retention
    plans again and removes, by the policy in force, which must enforce retention for the repository.

    Exit status: 0 done, or nothing to do; 1 refused, or not every image could be removed.
    """
    from tallyman_cli.retention.plan import make, show

    opened = context.connect()
    places = addresses.repository(opened.policy, repository).repositories
    if not yes:
        with redirect_stdout(sys.stderr) if output.is_json() else nullcontext():
            plans = [make(opened, place)[0] for place in places]
            for made in plans:
                show(made, load_prices(), opened.clock())
            may = [made for made in plans if made.removed and made.retention.enforce and not made.refused]
            output.hand_over()
            agreed = not may or typer.confirm("Carry this out?", err=True)
        if not agreed:
            raise Refused("declined: nothing was requested")
        if not may and (reasons := [reason for made in plans for reason in _refusals(made)]):
            raise Refused("; ".join(reasons))
        places = tuple(made.inventory.repository for made in plans if made.removed)
    runs = [ask(opened, place, timeout) for place in places]
    if not runs:
        output.say("there is nothing to remove")
        if output.is_json():
            output.data(None)
        return
    if output.is_json():
        output.data(runs[0] if len(runs) == 1 else runs)
    else:
        for run in runs:
            output.line(f"{run['repository']}: {run['outcome']}")
            output.table({"digest": digest, "why": why} for digest, why in run["failed"].items())
    if any(run["refused"] or run["failed"] or not run["acted"] for run in runs):
        raise typer.Exit(1)


def _refusals(made: "Plan") -> list[str]:
    """Why a run would not carry out the plan."""
    if made.removed and not made.retention.enforce:
        return [f"a plan only: the policy does not enforce retention of {made.inventory.repository}"]
    return list(made.refused)


def ask(stack: context.Stack, place: Repository, timeout: float) -> dict[str, Any]:
    """Request a run of the stack over one repository, and wait for its end, `timeout` seconds at most. Raises
    Unreachable where it does not end in time."""
    request = str(uuid4())
    stack.hints.send("retention", {"repository": str(place), "request": request, "policy": stack.policy.digest})
    output.say(f"retention of {place} (request {request})")

    def ended() -> RetentionRun | None:
        run = RUNS.get(stack.state, run_key(place))
        return run if run is not None and run.request == request else None

    run = wait_for(stack, ended, timeout)
    if run is None:
        raise Unreachable(f"no outcome for {place} within {timeout:g} s; `tallyman retention plan` shows what is left")
    data = run.dump()
    del data["causes"]  # of refusals that were announced: for the next run alone
    return {"repository": str(place), "acted": run.acted, **data}


@app.command("proof")
@options.on_stack
def proof(image: options.Image) -> None:
    """Show the proof of a removal.

    The proof holds the rule, the answer of each protection, which sources of usage were read, and when. Name IMAGE by
    its digest.

    Exit status: 0 shown; 1 retention did not remove it.
    """
    from tallyman_cli.retention.proof import proofs

    document = proofs(context.connect(), image)[0]
    if output.is_json():
        output.data(document)
        return
    output.line(f"{document['repository']}@{document['digest']}: {document['action']}d")
    output.line(f"{document['reason']} (policy {output.digest(document['policy'])}, proof {document['proof']})")
    output.line()
    output.table(
        {"protection": p["name"], "question": p["question"], "answer": p["answer"]} for p in document["protections"]
    )
    output.line()
    output.table(
        {"usage of": u["source"], "where": u["where"], "read at": u["at"], "uses": u["uses"]} for u in document["usage"]
    )


@app.command("restore")
@options.by_policy
def restore(image: options.Image) -> None:
    """Bring an image back.

    It is restored from ECR's archive, or copied from another environment that still holds the digest. Uses your own
    credentials (in other accounts, the stack's roles for people). Its tags are set again where they are free.

    Exit status: 0 the image is back; 1 no registry of the policy holds it any more.
    """
    from tallyman_cli.retention.proof import bring_back

    result = bring_back(context.connect(), image)
    if output.is_json():
        output.data(result)
    else:
        output.line(f"{result['repository']}@{output.digest(result['digest'])}: {result['outcome']}")


@app.command("replay")
@options.by_policy
def replay(
    repository: Place,
    since: Annotated[str, option("--since TIME", "Where the replay begins, such as 2026-01-01.")],
    until: Annotated[str | None, option("--until TIME", "Where the replay ends.", default="now")] = None,
) -> None:
    """Show what a policy would have removed in the past.

    Replays the recorded past under the policy: what it would have removed and when, and what was needed later.

    Exit status: 0 it would have removed nothing that was needed later; 1 it would have, or there is no such repository.
    """
    from tallyman_cli.retention.past import as_data, gone

    opened = context.connect()
    place = one(opened, repository)
    past = gone(opened, place, parse_time(since), parse_time(until) if until else opened.clock())
    found = past.gone
    if not found and not past.refused:
        naming.must_exist(opened, [place])
    if output.is_json():
        output.data(as_data(opened, place, past))
    else:
        output.table(
            {
                "at": format_time(g.at),
                "tags": " ".join(g.tags),
                "digest": g.digest,
                "reason": g.reason,
                "needed later": "; ".join(g.needed),
            }
            for g in found
        )
        output.say(
            f"{len(found)} would have been removed, {sum(bool(g.needed) for g in found)} of them were needed later"
        )
        if past.refused:
            first, last = past.refused[0], past.refused[-1]
            days = f"on {len(past.refused)} days" if len(past.refused) > 1 else "on one day"
            output.say(f"nothing would have been removed {days}, last at {format_time(last.at)}: {first.reason}")
    if any(g.needed for g in found):
        raise typer.Exit(1)


@app.command("native")
@options.by_policy
def native(
    repository: Place,
    file: Annotated[
        Path | None, option("--file FILE", "A file with a lifecycle policy.", default="the repository's own")
    ] = None,
) -> None:
    """Compare the plan with ECR's own lifecycle policy.

    Shows what the lifecycle policy would remove, evaluated as AWS documents it, beside Tallyman's plan.

    Exit status: 0 shown; 1 there is no lifecycle policy; 2 ECR would not accept the policy in --file.
    """
    from tallyman_cli.retention.native import beside, read
    from tallyman_cli.retention.plan import make

    opened = context.connect()
    place = one(opened, repository)
    text = read(file) if file else opened.lifecycle(place)
    if text is None:
        raise NotFound(f"{place} has no lifecycle policy of its own")
    made, _ = make(opened, place)
    rows = beside(text, made, opened.clock())
    if output.is_json():
        output.data({"repository": str(place), "images": rows})
    else:
        output.table(
            {
                "tags": " ".join(row["tags"]),
                "digest": row["digest"],
                "ECR": row["native"],
                "Tallyman": row["action"],
                "reason": row["reason"],
            }
            for row in rows
        )
