"""The state of a release's rollout, for `release`, `pending` and `why`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tallyman.domain.history.details.releases import Released
from tallyman.domain.names import Digest
from tallyman.domain.policy import Environment
from tallyman.services.releases.pointer import releases
from tallyman.services.releases.rollout_progress import (
    DONE,
    FAILED,
    NOT_BEGUN,
    RUNNING,
    recorded_rollouts,
    rollout_of,
    rollouts_of,
)
from tallyman.state.releases import RELEASES, key
from tallyman_cli.shared import output
from tallyman_cli.shared.context import Stack

_WORDS = {RUNNING: "being rolled out", DONE: "rolled out", FAILED: "not rolled out", NOT_BEGUN: "not rolled out yet"}


def of_release(
    stack: Stack, environment: Environment, repository: str, release: str | None, at: datetime | None = None
) -> dict[str, Any] | None:
    """The rollout of the release with this id, now or at a moment; None: the policy moves no service."""
    if at is not None:
        return recorded_rollouts(stack.ledger, environment.name, repository, at).get(release or "")
    return rollout_of(stack.policy, stack.state, environment.name, repository, release)


def of_image(
    stack: Stack, environment: Environment, repository: str, digest: Digest, at: datetime | None = None
) -> dict[str, Any] | None:
    """The rollout of the release in force (now or at a moment), if it releases this image."""
    if at is not None:
        last = next(releases(stack.ledger, environment.name, repository, at), None)
        released, number = (last.digest, Released.parse(last).id) if last else (None, None)
    else:
        release = RELEASES.get(stack.state, key(environment.name, repository))
        released, number = (release.digest, release.id) if release else (None, None)
    return of_release(stack, environment, repository, number, at) if released == digest else None


def unfinished(stack: Stack, environments: list[str]) -> Iterator[dict[str, Any]]:
    """The releases in force whose rollout is not done: {environment, repository, digest, tags, rollout}."""
    for name in environments:
        for release, found in rollouts_of(stack.policy, stack.state, name):
            if found is not None and found["status"] != DONE:
                yield {
                    "environment": name,
                    "repository": release.sk,
                    "digest": release.value.digest,
                    "tags": list(release.value.tags),
                    "rollout": found,
                }


def sentence(rollout: dict[str, Any]) -> str:
    """The state in words: `rolled out`, or how far it is and why."""
    why = rollout["reason"] or rollout["said"]
    again = f"; checked again at {output.when(rollout['next_at'])}" if rollout["next_at"] else ""
    return _WORDS[rollout["status"]] + (f": {why}{again}" if why else "")


def show(rollout: dict[str, Any]) -> None:
    """Print the sentence, and a row for each target."""
    output.line(sentence(rollout))
    output.table(
        {
            "registry": target["registry"],
            "service": target["service"] + (f" ({target['part']})" if target["part"] else ""),
            "state": target["state"].replace("_", " "),
            "since": target["since"],
            "before": (target["before"] or "").rpartition("/")[2],
            "what": target["said"],
        }
        for target in rollout["targets"]
    )
