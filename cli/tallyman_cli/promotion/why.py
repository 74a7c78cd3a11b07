"""`tallyman why`: each gate of a promotion, its verdict, and the facts that it used."""

from typing import Annotated

import typer

from tallyman.domain.decide import PROMOTED
from tallyman.domain.gates import PASSED
from tallyman_cli.promotion import candidates, rollouts
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.options import option

To = Annotated[str, option("--to ENVIRONMENT", "The environment to promote to.")]


@options.by_policy
def why(image: options.Image, to: To, at: options.At = None) -> None:
    """Explain why an image is, or is not, promoted: every gate with its reason, the deciding one first.

    --at evaluates the policy and the facts known at that time; --policy evaluates another policy. If the environment
    releases the image, also shows the state of its rollout (`rollout` in the policy). Writes nothing.

    Exit status: 0 promoted or passed; 1 waiting, failed or in conflict; 2 no promotion leads to that environment.
    """
    moment = options.moment(at)
    opened = context.connect()
    options.note_future(moment, opened.clock())
    where = candidates.candidate(opened, image, to, moment)
    decision = candidates.evaluate(opened, where, moment)
    note_unknown(opened, where)
    rollout = rollouts.of_image(opened, where.policy.environment(to), where.canonical, where.digest, moment)
    other = candidates.released_instead(opened, where, decision) if moment is None else None
    if output.is_json():
        output.data(candidates.as_json(where, decision) | {"rollout": rollout, "released_instead": other})
    else:
        candidates.show(where, decision, other)
    if rollout and not output.is_json():
        output.line()
        rollouts.show(rollout)
    if decision.verdict not in (PROMOTED, PASSED):
        raise typer.Exit(1)


def note_unknown(opened: context.Stack, where: candidates.Candidate) -> None:
    """Print a note if no fact is about the image: its events may be lost, or not have arrived yet."""
    if not candidates.is_known(opened, where):
        output.say(
            f"nothing is recorded of {where.text} yet: `tallyman reconcile {where.source}/{where.canonical}` looks"
        )
