"""Why an image is, or is not, let into an environment: now, at a past moment, or by another policy."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from tallyman.domain.times import text_or_none
from tallyman.errors import BadInput
from tallyman_cli.promotion import candidates, rollouts
from tallyman_cli.shared.context import Stack

PASTED = "the pasted policy"
"""What messages call a policy that a person gave as text."""


def why(stack: Stack, text: str, to: str, at: datetime | None = None) -> dict[str, Any]:
    """The form of `why --json`, with `sentence` and `at`."""
    where = candidates.candidate(stack, text, to, at)
    decision = candidates.evaluate(stack, where, at)
    rollout = rollouts.of_image(stack, where.policy.environment(to), where.canonical, where.digest, at)
    return {
        **candidates.as_json(where, decision),
        "sentence": candidates.sentence(where, decision),
        "at": text_or_none(at),
        "known": candidates.is_known(stack, where),
        "rollout": rollout,
        "released_instead": candidates.released_instead(stack, where, decision) if at is None else None,
    }


def with_policy(stack: Stack, text: str) -> Stack:
    """The stack with another policy, given as text. Raises PolicyError with line and what was expected; BadInput where
    the text is empty."""
    if not text.strip():
        raise BadInput("the policy is empty: paste the whole of tallyman.yaml")
    policy = stack.read_policy(text.replace("\r\n", "\n").encode(), PASTED)
    return replace(stack, given=policy.for_hub(stack.hub))
