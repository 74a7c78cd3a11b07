"""`tallyman pending`: lists promotions that are not done: what each waits for, since when, until when."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from tallyman.domain.decide import CONFLICT
from tallyman.domain.gates import FAILED, target
from tallyman.domain.times import format_time, text_or_none
from tallyman.services.deciding.noncompliant import noncompliant_images
from tallyman.services.releases.pointer import stays
from tallyman.state import pending as pending_items
from tallyman.state.pending import PENDING, Pending
from tallyman_cli.promotion import rollouts
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.options import argument, option

Environment = Annotated[str | None, argument("ENVIRONMENT", "List only this environment; without it, all.")]


@options.by_policy
def pending(
    environment: Environment = None,
    released: Annotated[
        bool, option("--released", "List instead the images in an environment that would not pass its gates today.")
    ] = False,
    of_rollouts: Annotated[
        bool, option("--rollouts", "List instead the releases whose rollout is not done, with its state.")
    ] = False,
) -> None:
    """List pending promotions: the deciding gate of each, since when, and what happens next.

    Includes promotions that a gate refuses, and those that were given up after many retries (parked). Releases whose
    rollout is not done are counted; --rollouts lists them.

    Exit status: 0 listed; 2 there is no such environment.
    """
    opened = context.connect()
    names = [opened.policy.environment(environment).name] if environment else list(opened.policy.environments)
    if released or of_rollouts:
        (_released if released else _rollouts)(opened, names)
        return
    found = sorted(rows(opened, names), key=lambda row: (row["to"], row["since"], row["repository"], row["digest"]))
    if output.is_json():
        output.data(found)
        return
    if late := sum(1 for _ in rollouts.unfinished(opened, names)):
        output.say(f"{late} rollout{'s are' if late > 1 else ' is'} not done: `tallyman pending --rollouts`")
    if not found:
        output.line(f"nothing waits for {environment or 'any environment'}")
        return
    output.table(
        {
            "image": f"{row['from']}/{row['repository']}:{row['tags'][0]}" if row["tags"] else row["repository"],
            "to": row["to"],
            "verdict": "parked" if row["parked"] else row["verdict"],
            "gate": row["gate"],
            "reason": "; ".join(
                filter(None, (row["reason"], row["stays"] and f"will not be released: {row['stays']}"))
            ),
            "since": row["since"],
            "next": row["next"],
            "digest": row["digest"],
        }
        for row in found
    )


def _rollouts(opened: context.Stack, environments: list[str]) -> None:
    found = list(rollouts.unfinished(opened, environments))
    if output.is_json():
        output.data(found)
        return
    if not found:
        output.line("every release is rolled out")
    for row in found:
        output.line(
            f"{row['environment']}/{row['repository']} {', '.join(row['tags'])}  {output.digest(row['digest'])}"
        )
        rollouts.show(row["rollout"])


def _released(opened: context.Stack, environments: list[str]) -> None:
    found = noncompliant(opened, environments)
    if output.is_json():
        output.data(found)
    elif not found:
        output.line("every promoted image would pass its gates today")
    else:
        output.table(
            {
                "image": row["image"],
                "gate": gate["name"],
                "reason": gate["reason"],
                "since": row["since"],
                "released": "yes" if row["released"] else "no, but it runs" if row["runs"] else "no",
                "digest": row["digest"],
            }
            for row in found
            for gate in row["gates"]
        )


def noncompliant(opened: context.Stack, environments: list[str]) -> list[dict[str, Any]]:
    """The images in these environments that would not pass their gates today: the form of `pending --released
    --json`."""
    return [
        {
            "image": f"{image.target}/{image.name}{':' + image.tags[0] if image.tags else '@' + image.digest}",
            "digest": image.digest,
            "repository": image.name,
            "from": image.source,
            "to": image.target,
            "tags": list(image.tags),
            "gates": [dict(gate) for gate in image.gates],
            "since": text_or_none(image.since),
            "policy": image.policy,
            "released": released,
            "runs": list(image.runs),
        }
        for name in environments
        for image, released in noncompliant_images(opened.state, name)
    ]


def rows(opened: context.Stack, environments: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each pending promotion into these environments: the form of `pending --json`. A Query for each
    environment, and a read for each row."""
    now = opened.clock()
    for name in environments:
        for entry in PENDING.list(opened.state, pending_items.partition(name)):
            waits = entry.value
            kept = stays(opened.policy, opened.ledger, opened.state, name, waits.name, waits.digest, waits.tags)
            yield _row(waits) | {"next": _next(waits, now), "stays": kept}


def _next(waits: Pending, now: datetime) -> str:
    """What happens next, and when; a time that has passed comes with what it means."""
    due = waits.until or waits.next_at
    if waits.tagging_since is not None and waits.verdict == FAILED:
        return "some registries have its tags already: a person has to remove them"
    if waits.verdict in (FAILED, CONFLICT):
        return "a person, or a new fact"
    if due is None:
        return "a fact that is missing, or a person"
    if due > now:
        return format_time(due)
    return f"due since {format_time(due)}: looked at within seconds, at the latest by the next reconcile"


def _row(waits: Pending) -> dict[str, Any]:
    tags = list(waits.tags)
    return {
        "image": f"{waits.source}/{waits.name}{':' + tags[0] if tags else '@' + waits.digest}",
        "digest": waits.digest,
        "repository": waits.name,
        "from": waits.source,
        "to": waits.target,
        "tags": tags,
        "verdict": waits.verdict,
        "gate": waits.gate,
        "reason": waits.reason,
        "since": text_or_none(waits.since),
        "until": text_or_none(waits.until),
        "parked": waits.verdict == FAILED and waits.gate == target.NAME,  # a conflict has a verdict of its own
        "attempt": waits.attempt,
        "next_at": text_or_none(waits.next_at),
        "tagging_since": text_or_none(waits.tagging_since),
    }
