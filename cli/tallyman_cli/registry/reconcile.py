"""`tallyman reconcile`: compares the registries with the ledger now."""

from collections import Counter
from typing import Annotated, Any

import typer

from tallyman.domain.policy import Policy
from tallyman_cli.shared import addresses, context, options, output
from tallyman_cli.shared.options import argument

MAX_RUNS = 1_000
"""Runs of one sweep at most; each continues where the previous one stopped."""


@options.by_policy
def reconcile(
    repository: Annotated[
        str | None,
        argument(
            "REPOSITORY",
            "ENVIRONMENT/REPOSITORY (dev/rocketseat/widget-server, dev/rocketseat/*), a full ECR address, or an "
            "IMAGE, for the repository that it is in.",
            default="all",
        ),
    ] = None,
) -> None:
    """Compare the registries with the ledger now, record what no event reported, and resume pending work.

    Runs the stack's function reconcile, which also runs every 15 minutes, until no repository is left.

    Exit status: 0 every registry was read, whatever was found; 1 a registry could not be read.
    """
    opened = context.connect()
    payload, registries = wanted(opened.policy, repository)
    sweep = Sweep(registries)
    for run in range(1, MAX_RUNS + 1):
        answer = opened.reconcile(payload)
        sweep.add(answer)
        if not answer.get("more"):
            break
        payload = {**payload, "token": answer["token"]}
        output.say(f"run {run}: {output.counted(sweep.images, 'image')} so far")
    for problem in sweep.problems:
        output.trouble(problem)
    if output.is_json():
        output.data(sweep.as_data())
    else:
        sweep.show()
    if repository is not None and sweep.empty:
        output.say(f"no registry that was read has a repository {repository}")
    if sweep.unread:
        for each in sweep.unread:
            output.trouble(f"{each['registry']} could not be read: {each['error']}")
        raise typer.Exit(1)


def wanted(policy: Policy, text: str | None) -> tuple[dict[str, Any], set[str] | None]:
    """The payload for the function, {repositories, environment, registry} (empty: everything), and the registries that
    it concerns (None: all).

    An image means its repository. Raises BadName if the policy has no such environment or registry.
    """
    if text is None:
        return {}, None
    name, registries, environment = addresses.parse(policy, text)
    place = str(registries[0]) if len(registries) == 1 else None
    if environment is None:
        found: dict[str, Any] = {"repositories": [f"{place}/{name.repository}"]}
    else:
        found = {"repositories": [name.repository], "environment": environment.name}
    return found | ({"registry": place} if place else {}), {str(registry) for registry in registries}


class Sweep:
    """The results of all runs of one sweep together."""

    def __init__(self, registries: set[str] | None = None) -> None:
        """`registries`: those to report on; None: all."""
        self._wanted = registries
        self._registries: dict[str, dict[str, Any]] = {}
        self._found: Counter[str] = Counter()
        self._retried = 0
        self._runs = 0
        self.problems: list[str] = []
        self._more = False

    def add(self, answer: dict[str, Any]) -> None:
        """Add the answer of a run. A registry that one run could not read stays an error: no later run reads it."""
        self._runs += 1
        self._more = bool(answer.get("more"))
        self._found.update({kind: int(n) for kind, n in (answer.get("found") or {}).items()})
        self.problems += answer.get("problems") or []
        self._retried += int(answer.get("retried") or 0)
        for each in answer.get("registries") or []:
            if self._wanted is not None and each["registry"] not in self._wanted:
                continue
            new = {"registry": each["registry"], "repositories": 0, "images": 0, "missed": 0, "error": None}
            known = self._registries.setdefault(each["registry"], new)
            for key in ("repositories", "images", "missed"):
                known[key] += int(each.get(key) or 0)
            known["error"] = known["error"] or each.get("error")

    @property
    def images(self) -> int:
        """Images looked at so far."""
        return sum(each["images"] for each in self._registries.values())

    @property
    def unread(self) -> list[dict[str, Any]]:
        """Registries that could not be read."""
        return [each for each in self._registries.values() if each["error"]]

    @property
    def empty(self) -> bool:
        """Whether no repository was looked at, and every registry could be read."""
        return not self.unread and not any(each["repositories"] for each in self._registries.values())

    def as_data(self) -> dict[str, Any]:
        """The form of `reconcile --json`."""
        return {
            "registries": list(self._registries.values()),
            "found": dict(self._found),
            "retried": self._retried,
            "problems": self.problems,
            "runs": self._runs,
            "more": self._more,
        }

    def show(self) -> None:
        """Print a row for each registry, then what was found."""
        output.table(
            {
                "registry": each["registry"],
                "repositories": each["repositories"],
                "images": each["images"],
                "missed events": each["missed"],
                "error": each["error"],
            }
            for each in self._registries.values()
        )
        missed = sum(each["missed"] for each in self._registries.values())
        found = [f"{n} {kind.replace('_', ' ')}" for kind, n in sorted(self._found.items()) if n]
        output.line()
        output.line(f"{missed or 'no'} event{'' if missed == 1 else 's'} had been missed")
        if found:
            output.line(f"found: {', '.join(found)}")
        if self._retried:
            output.line(f"resumed: {self._retried}")
