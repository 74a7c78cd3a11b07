"""Removes what the policy does not keep: mark, grace, look again under the lease, prove, remove by digest.

Nothing is written or removed unless the policy enforces it. Between the last look and the removal lies the time of one
call; what begins to use an image in that moment is not seen.
"""

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import field, replace
from datetime import datetime
from typing import Any

from tallyman.domain.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy, Removal
from tallyman.domain.retention import Plan, Reading, plan_retention
from tallyman.domain.retention.inventory import NEVER, millis
from tallyman.domain.times import format_time, parse_time, whole_millis
from tallyman.domain.values import dataclass
from tallyman.errors import BadInput, BadMessage, Leased, NotFound, Refused, StateMoved
from tallyman.ports import (
    Archive,
    Clock,
    Deadline,
    Hints,
    ImageRemover,
    Ledger,
    Notices,
    RegistryView,
    State,
    StateChange,
    StateItem,
)
from tallyman.services.inventory import TakeInventory
from tallyman.services.lease import Leases
from tallyman.services.needs import Needs, marks_partition
from tallyman.services.proofs import FOLDER, proof
from tallyman.services.retention_hints import RUNS

BATCH = 20
"""Images whose leases are held at once, and that go in one call (ECR takes up to 100)."""
_RESERVE = 30.0
MAX_ROUNDS = 100
"""Runs that one hint may take: a day and more of work. Lambda's own limit of rounds is off for this function, so that
long work is not cut short; what is left after these the schedule takes up."""
_HOLDERS = 100
"""Indexes and subjects that a mark names: an item of the table takes many more."""


def planned(
    needs: Needs, inventories: TakeInventory, repository: Repository, left: Deadline
) -> tuple[Plan, list[Reading]]:
    """The plan of the repository as of now, and the readings of usage that it goes by. Writes nothing."""
    inventory = inventories.of(repository, left)
    readings = needs.readings()
    known = replace(needs.known(inventory, readings), begun=needs.begun(inventory))
    return plan_retention(needs.policy, inventory, readings, known, needs.clock()), readings


@dataclass(slots=True)
class _Run:
    """One run over one repository."""

    repository: Repository
    request: str | None
    plan: Plan
    round: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ApplyRetention:
    """The reaction to hints of retention. Every step may be repeated; a family of which a run removed a part is
    finished by the next."""

    policy: Policy
    inventories: TakeInventory
    needs: Needs
    view: RegistryView
    remover: ImageRemover
    ledger: Ledger
    state: State
    archive: Archive
    hints: Hints
    notices: Notices
    clock: Clock
    leases: Leases

    def handle(self, body: str, left: Deadline = lambda: float("inf")) -> str:
        """One hint: `{"repository": "<account>/<region>/<name>", "request": …, "policy": …, "round": …}`, or `{"all":
        true}` from the schedule; a word for the log, which begins with `refused` where an alarm is due."""
        hint = _parse(body)
        if hint.get("all"):
            return self._all()
        repository = _repository(hint)
        request = hint.get("request")
        if hint.get("policy") not in (None, self.policy.digest):
            return self._end(
                repository, request, f"refused: the plan that was shown is by another policy, {hint['policy']}"
            )
        found = self.policy.environments_of(repository.registry, repository.name)
        retention = self.policy.repository(found[0][1] if found else repository.name).retention
        if not found or not retention.removes:
            return self._end(repository, request, "nothing to do: the policy removes nothing here")
        if not retention.enforce:
            return self._end(repository, request, "a plan only: the policy does not enforce retention here")
        try:
            plan, _ = planned(self.needs, self.inventories, repository, left)
        except NotFound:
            return self._end(repository, request, "nothing to do: there is no such repository")
        run = _Run(repository, request, plan, hint.get("round", 0))
        if plan.refused:
            return self._refuse(run)
        return self._carry_out(run, left)

    def _all(self) -> str:
        """A hint for each repository in which the policy enforces something."""
        sent = 0
        for registry in self.policy.registries():
            for settings in self.view.repositories(registry):
                found = self.policy.environments_of(registry, settings.repository.name)
                if found and (retention := self.policy.repository(found[0][1]).retention).enforce and retention.removes:
                    self.hints.send("retention", {"repository": str(settings.repository)})
                    sent += 1
        return f"{sent} repositories to look at"

    def _carry_out(self, run: _Run, left: Deadline) -> str:
        plan, now = run.plan, whole_millis(self.clock())
        digests = [plan.inventory.digest(row) for row in plan.removed]
        marks = {item.sk: item for item in self.state.list(marks_partition(run.repository))}
        for sk, item in list(marks.items()):
            if item.data.get("over"):  # its fact is written: a run ended right before it forgot the mark
                self._forget(marks.pop(sk))
            elif sk not in plan.inventory.rows:
                self._was_removed(run, item)
            elif not plan.goes(sk):
                self._unmark(run, item, plan.image(plan.inventory.rows[sk]).reason, now)
        due: list[tuple[Digest, StateItem]] = []
        for digest in digests:
            known = marks.get(digest)
            marked = known if known is not None else self._mark(run, digest, now)
            if marked is not None and parse_time(marked.data["marked_at"]) + plan.retention.grace <= now:
                due.append((digest, marked))
        run.counts["waiting"] = len(digests) - len(due)
        for start in range(0, len(due), BATCH):
            if left() <= _RESERVE:
                return self._go_on(run)
            self._remove(run, due[start : start + BATCH], left)
        outcome = (
            f"{len(run.removed)} {plan.retention.action}d, {run.counts['marked']} marked, {len(run.failed)} failed"
        )
        return self._end(run.repository, run.request, outcome, run)

    def _go_on(self, run: _Run) -> str:
        """Its time is over before its work is: another run takes up the rest."""
        if run.round >= MAX_ROUNDS:
            outcome = f"{len(run.removed)} removed; stopped after {MAX_ROUNDS} runs, the schedule goes on with the rest"
            return self._end(run.repository, run.request, outcome, run)
        asked = {"request": run.request, "policy": self.policy.digest} if run.request else {}
        self.hints.send("retention", {"repository": str(run.repository), **asked, "round": run.round + 1})
        return f"{len(run.removed)} removed; goes on in another run"

    def _mark(self, run: _Run, digest: Digest, now: datetime) -> StateItem | None:
        plan = run.plan
        row = plan.inventory.rows[digest]
        reason, holders = plan.reason(row), [plan.inventory.digest(each) for each in plan.links.holders(row)]
        fact = self._fact(Kind.MARKED, run.repository, digest, now, {"reason": reason}, now)
        data = {
            "marked_at": format_time(now),
            "reason": reason,
            "id": fact.id,
            "with": holders[:_HOLDERS],
            "proof": None,
            "failed": None,
        }
        change = StateChange(marks_partition(run.repository), digest, 0, data)
        try:
            self.ledger.append(fact, change)
        except StateMoved:
            return None  # another run marks it just now
        run.counts["marked"] += 1
        return StateItem(change.pk, digest, 1, data)

    def _unmark(self, run: _Run, item: StateItem, reason: str, now: datetime) -> None:
        key = item.data["id"]
        fact = self._fact(Kind.UNMARKED, run.repository, Digest(item.sk), now, {"reason": reason}, key)
        self._over(fact, item, None)
        run.counts["unmarked"] += 1

    def _over(self, fact: Fact, item: StateItem, proof_of: str | None) -> None:
        """A mark ends with its fact, in one transaction: a run that dies right after does not make the next tell it
        again. StateMoved: another run did it."""
        change = StateChange(item.pk, item.sk, item.revision, {**item.data, "proof": proof_of, "over": True})
        with suppress(StateMoved):
            self.ledger.append(fact, change)
            self.state.delete(item.pk, item.sk, item.revision + 1)

    def _forget(self, item: StateItem) -> None:
        with suppress(StateMoved):
            self.state.delete(item.pk, item.sk, item.revision)

    def _was_removed(self, run: _Run, item: StateItem) -> None:
        """The image of a mark is gone: by us, if its proof was written and the run ended then; or by somebody else."""
        if item.data["proof"]:
            self._removed(run, Digest(item.sk), item.data["proof"], item)
        else:
            self._forget(item)

    def _remove(self, run: _Run, due: Sequence[tuple[Digest, StateItem]], left: Deadline) -> None:
        """Looks again under the leases of a few images, usage last, and removes those that still are to go."""
        environments = dict.fromkeys(
            [p.target for p in self.policy.repository(run.plan.inventory.name).promotions]
            + ([run.plan.inventory.environment] if run.plan.inventory.environment else [])
        )
        with ExitStack() as held:
            owner, free, checks = secrets.token_hex(8), [], []
            for digest, item in due:
                try:
                    for environment in environments:
                        what = f"{run.plan.inventory.name}@{digest}"
                        checks.append(held.enter_context(self.leases.hold(environment, what, owner)).check)
                except Leased as error:
                    run.failed[digest] = str(error)
                    continue
                free.append((digest, item))
            plan, readings = self._look_again(run, [digest for digest, _ in free])
            if plan.refused:
                run.failed.update(dict.fromkeys((digest for digest, _ in free), plan.refused[0]))
                return
            for digest, item in free:
                if digest not in run.failed and not plan.goes(digest):  # something needs it since the plan
                    reason = plan.image(plan.inventory.rows[digest]).reason
                    self._unmark(run, item, reason, whole_millis(self.clock()))
            proven = self._prove(run, plan, readings, [pair for pair in free if plan.goes(pair[0])])
            for check in checks:
                check()
            self._send(run, plan, proven)

    def _look_again(self, run: _Run, digests: Sequence[Digest]) -> tuple[Plan, list[Reading]]:
        """The same inventory, with what these images are now; then everybody who could need one is asked anew."""
        inventory = run.plan.inventory
        there = {detail.digest: detail for detail in self.inventories.source.describe(run.repository, digests)}
        for digest in digests:
            row, detail = inventory.rows[digest], there.get(digest)
            if detail is None:
                run.failed[digest] = "it is gone already"
                continue
            inventory.tags[row] = tuple(sorted(detail.tags))
            inventory.pulled[row] = millis(detail.pulled_at) if detail.pulled_at else NEVER
            inventory.pushed[row] = millis(detail.pushed_at)
            inventory.archived[row] = detail.archived
        readings = self.needs.readings()
        known = replace(self.needs.known(inventory, readings), begun=run.plan.begun)
        return plan_retention(self.policy, inventory, readings, known, self.clock()), readings

    def _prove(
        self, run: _Run, plan: Plan, readings: Sequence[Reading], going: Sequence[tuple[Digest, StateItem]]
    ) -> list[tuple[Digest, Digest, StateItem]]:
        """The objects are written before anything is removed, and the marks name them."""
        order = {plan.inventory.digests[row]: n for n, row in enumerate(plan.removed)}
        wanted = sorted((d for d, _ in going if d not in run.failed), key=lambda d: order[d])
        items = dict(going)
        readable = [d for d in wanted if not plan.inventory.archived[plan.inventory.rows[d]]]
        manifests = self.inventories.source.manifests(run.repository, readable) if readable else {}
        proven = []
        for digest in wanted:
            manifest, item = manifests.get(digest), items[digest]
            if manifest is not None:
                self.archive.put("manifests", manifest.raw)
            written = self.archive.put(
                FOLDER, proof(plan, run.repository, digest, manifest, readings, item.data["marked_at"])
            )
            data = {**item.data, "proof": written}
            try:
                self.state.put(StateChange(item.pk, item.sk, item.revision, data))
            except StateMoved:
                run.failed[digest] = "another run works at it"
                continue
            proven.append((digest, written, StateItem(item.pk, item.sk, item.revision + 1, data)))
        return proven

    def _send(self, run: _Run, plan: Plan, proven: Sequence[tuple[Digest, Digest, StateItem]]) -> None:
        digests = [digest for digest, _, _ in proven]
        if not digests:
            return
        failed: dict[Digest, str] = {}
        if plan.retention.action is Removal.ARCHIVE:
            for digest in digests:
                try:
                    self.remover.store(run.repository, digest, archive=True)
                except (Refused, BadInput) as error:
                    failed[digest] = str(error)
        else:
            failed = self.remover.remove(run.repository, digests)
        for digest, written, item in proven:
            if digest in failed:
                run.failed[digest] = _explained(failed[digest])
                with suppress(StateMoved):
                    data = {**item.data, "proof": None, "failed": run.failed[digest]}
                    self.state.put(StateChange(item.pk, item.sk, item.revision, data))
                continue
            self._removed(run, digest, written, item)

    def _removed(self, run: _Run, digest: Digest, written: str, item: StateItem) -> None:
        detail = {"proof": written, "reason": item.data["reason"], "action": str(run.plan.retention.action)}
        now = whole_millis(self.clock())
        self._over(self._fact(Kind.REMOVED, run.repository, digest, now, detail, written), item, written)
        run.removed.append(digest)

    def _refuse(self, run: _Run) -> str:
        """Nothing is done, and people are told, once for the same reason."""
        reason = run.plan.refused[0]
        item = self.state.get(RUNS, str(run.repository))
        if item is None or item.data.get("refused") != reason:
            what = f"retention of {run.repository} is refused"
            lines = [f"{what}: {reason}", *run.plan.refused[1:], f"Policy: {run.plan.policy}", "Nothing was removed."]
            attributes = {"kind": "retention_refused", "environment": run.plan.inventory.environment or "-"}
            self.notices.publish(what[:100], "\n".join(lines), attributes)
        return self._end(run.repository, run.request, f"refused: {reason}", run, reason)

    def _end(
        self, repository: Repository, request: Any, outcome: str, run: _Run | None = None, refused: str | None = None
    ) -> str:
        """Notes how the last run of a repository ended, where it did anything or somebody waits for it."""
        if run is None and request is None:
            return outcome
        data = {
            "at": format_time(self.clock()),
            "request": request,
            "outcome": outcome,
            "marked": run.counts["marked"] if run else 0,
            "unmarked": run.counts["unmarked"] if run else 0,
            "waiting": run.counts["waiting"] if run else 0,
            "removed": run.removed[:1000] if run else [],
            "failed": dict(list(run.failed.items())[:100]) if run else {},
            "refused": refused,
        }
        for _ in range(4):
            item = self.state.get(RUNS, str(repository))
            try:
                self.state.put(StateChange(RUNS, str(repository), item.revision if item else 0, data))
                break
            except StateMoved:
                continue
        return outcome

    def _fact(
        self, kind: Kind, repository: Repository, digest: Digest, now: datetime, detail: dict[str, Any], key: object
    ) -> Fact:
        return Fact(
            kind=kind,
            id=fact_id(kind, repository, digest, key),
            at=now,
            seen=now,
            via=Via.RECONCILED,
            digest=digest,
            repository=repository,
            detail={**detail, "policy": self.policy.digest},
        )


def _explained(reason: str) -> str:
    """What ECR's code means for people."""
    if "ImageReferencedByManifestList" in reason:
        return f"an index that was pushed since the plan lists it: it stays ({reason})"
    return reason


def _parse(body: str) -> dict[str, Any]:
    try:
        hint = json.loads(body)
    except ValueError:
        hint = None
    if not isinstance(hint, dict):
        raise BadMessage("the message is no hint of retention: expected a JSON object")
    if not isinstance(hint.get("round", 0), int):
        raise BadMessage("the round of a hint of retention is to be a number")
    return hint


def _repository(hint: dict[str, Any]) -> Repository:
    try:
        return Repository.parse(hint["repository"])
    except (KeyError, AttributeError, BadInput) as error:
        raise BadMessage(f"a hint of retention names its repository, as account/region/name: {error}") from None
