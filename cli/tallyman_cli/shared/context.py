"""The stack as commands use it: tables, archive, queues, registries and the policy, found by its name."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallyman.domain.history.details.upkeep import InForce
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.policy import ANY_ROOTS, Policy
from tallyman.errors import BadInput
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Hints, LetterReader
from tallyman.ports.records import Archive, Ledger, State
from tallyman.ports.registries import Guards, ImageRemover, ImageSource, ImageTarget, RegistryView
from tallyman.services.deciding.policy_in_force import FOLDER
from tallyman.state.policy import KEY, POLICY, PolicyInForce
from tallyman_cli.shared import output
from tallyman_cli.shared.chosen import chosen

if TYPE_CHECKING:
    from tallyman.adapters.aws.clients import Clients
    from tallyman.services.retention.inputs import ReadInputs
    from tallyman.services.retention.inventory import TakeInventory
    from tallyman.services.sealing.check_ledger import CheckLedger


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Stack:
    """Everything that commands read and call, by the core's ports.

    `read_policy` reads the bytes of a policy; `given` is the policy that the person named, if any. `reconcile` runs
    the stack's function of that name. `retention_inputs` gives the inputs of a policy's retention plans, `lifecycle`
    reads a repository's own lifecycle policy, `remover` restores archived images, `clients` makes clients of AWS,
    `check_ledger` proves the ledger.
    `sleep` and `monotonic` serve waiting.
    """

    hub: EcrRegistry
    ledger: Ledger
    state: State
    archive: Archive
    hints: Hints
    source: ImageSource
    registries: RegistryView
    target: ImageTarget
    reconcile: Callable[[Mapping[str, Any]], dict[str, Any]]
    read_policy: Callable[[bytes, str], Policy]
    letters: LetterReader
    check_ledger: "Callable[[], CheckLedger]"
    retention_inputs: "Callable[[Policy], tuple[ReadInputs, TakeInventory]]"
    lifecycle: Callable[[Repository], str | None]
    remover: ImageRemover
    guards: Guards
    clients: "Callable[[], Clients]"
    given: Policy | None = None
    clock: Clock = _now
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    _in_force: Policy | None = None

    @property
    def policy(self) -> Policy:
        """The policy that the person named, else the one in force."""
        if self.given is not None:
            return self.given
        if self._in_force is None:
            in_force = self._policy_in_force()
            self._in_force = self._read(in_force.digest, in_force.roots)
        return self._in_force

    def policy_at(self, moment: datetime) -> Policy:
        """The policy that the person named, else the one in force at the moment, or the oldest known one before
        that."""
        if self.given is not None:
            return self.given
        facts: list[Fact] = [f for f in self.ledger.of_environment("*") if f.kind is Kind.POLICY]
        if not facts:
            return self.policy
        before = [f for f in facts if f.at <= moment]
        found = before[0] if before else facts[-1]  # newest first
        if not before:
            output.say(f"the oldest known policy came into force later, at {output.when(found.at)}; it is used")
        then = InForce.parse(found)
        return self._read(Digest(then.policy), then.roots)

    def push_problem(self, place: Repository, push: Sequence[str]) -> str | None:
        """What is wrong with the repository's policy if only promotions and `push` are to push there; None: nothing."""
        found = self.guards.problem(place, push)
        return str(found) if found else None

    def _policy_in_force(self) -> PolicyInForce:
        in_force = POLICY.get(self.state, KEY)
        if in_force is None:
            # Functions record the policy when they first run: run one that has nothing else to do.
            self.reconcile({"repositories": []})
            in_force = POLICY.get(self.state, KEY)
        if in_force is None:
            raise BadInput("no policy is in force in the stack yet: name one with --policy FILE or TALLYMAN_POLICY")
        return in_force

    def _read(self, digest: Digest, roots: str | None) -> Policy:
        raw = self.archive.get(FOLDER, digest)
        if raw is None:
            raise BadInput(f"the policy {digest} is not in the archive: name one with --policy FILE or TALLYMAN_POLICY")
        return replace(self.read_policy(raw, "tallyman.yaml"), roots=roots).for_hub(self.hub)


def connect(stack: str | None = None, policy: Path | None = None) -> Stack:
    """Find the stack (`--stack`, TALLYMAN_STACK, `tallyman`), and open what commands need, each when first used.

    Raises BadInput if there is no such stack, or the policy file is not valid.
    """
    from tallyman.adapters.files import policy_file
    from tallyman.bootstrap.people import ledger_check, open_stack
    from tallyman.bootstrap.services import retention_inputs
    from tallyman_cli.shared.aws import Reconciler, find_stack
    from tallyman_cli.shared.own_clients import PeopleClients

    file = chosen.policy_file(policy)
    given = policy_file.load(file) if file else None
    name = chosen.stack_name(stack)
    outputs, hub = find_stack(name)
    adapters = open_stack(outputs, name, hub, PeopleClients(hub, name))
    return Stack(
        hub=hub,
        ledger=adapters.ledger,
        state=adapters.state,
        archive=adapters.archive,
        hints=adapters.hints,
        source=adapters.source,
        registries=adapters.view,
        target=adapters.target,
        reconcile=Reconciler(outputs["ReconcileFunction"], hub.region),
        read_policy=policy_file.loads,
        given=replace(given, roots=given.roots or ANY_ROOTS).for_hub(hub) if given else None,
        guards=adapters.guards,
        letters=adapters.letter_reader,
        clients=lambda: adapters.clients,
        retention_inputs=lambda judged_by: retention_inputs(adapters, judged_by),
        lifecycle=lambda place: adapters.lifecycle.text(place),
        remover=adapters.remover,
        check_ledger=lambda: ledger_check(adapters),
    )


def rules(stack: str | None = None, policy: Path | None = None) -> Policy:
    """The policy alone: the file that is named, which needs no stack, else the one in force in the stack."""
    from tallyman.adapters.files import policy_file

    file = chosen.policy_file(policy)
    return policy_file.load(file) if file else connect(stack).policy
