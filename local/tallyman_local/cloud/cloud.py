"""The local cloud: `with Cloud(policy, root=checkout) as cloud: …`."""

import datetime as dt
import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from tallyman.domain.names import EcrRegistry
from tallyman_local.moto import imported as imported  # first: everything else imports moto

# isort: split
from tallyman_local.aws.endpoint import Endpoint
from tallyman_local.aws.permissions import Permissions
from tallyman_local.aws.trail import Trail
from tallyman_local.cloud import folders
from tallyman_local.cloud.control import Control
from tallyman_local.cloud.environments import Place, places
from tallyman_local.ecr import Callbacks, LocalEcr
from tallyman_local.ecr import Options as EcrOptions
from tallyman_local.ecr.failures import Failures
from tallyman_local.events.bus import Bus
from tallyman_local.events.schedules import Schedules
from tallyman_local.moto import calls as moto_calls
from tallyman_local.moto import rollouts
from tallyman_local.runtime.functions import Functions
from tallyman_local.runtime.lambdas import FunctionRunner, Outcome
from tallyman_local.runtime.pollers import Pollers
from tallyman_local.server.http import HOST, Listener, for_this_machine
from tallyman_local.stack.deploy import HUB, Stack, deploy

log = logging.getLogger("tallyman.local")

STACK = "tallyman"
DEVELOPER = f"arn:aws:iam::{HUB.account}:role/developer"
DEMO_POLICY = Path(__file__).with_name("demo.yaml")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a local cloud.

    `data_dir`: the folder of everything on disk, which is kept; None: a temporary folder. `real_time`: keep the queues'
    visibility timeouts for failed messages. `schedules`: fire scheduled rules. `built`: run functions from
    `.aws-sam/build`. `parameters`: of the stacks. `quotas`: limits of ECR's calls (see `ecr.rules.quotas`). `port`: the
    API's; the policy's registries have the next ones (0: free ports).
    """

    data_dir: Path | None = None
    scanner: Literal["manual", "clean"] = "manual"
    real_time: bool = False
    schedules: bool = False
    built: bool = False
    stack: str = STACK
    parameters: Mapping[str, str] = field(default_factory=dict)
    quotas: Mapping[str, float] = field(default_factory=dict)
    port: int = 0


class Cloud:
    """All accounts and regions that a policy names, with the hub's stack and the spokes' stacks.

    One at a time in a process, because moto's state belongs to the process; clouds of several processes are
    independent. `root`: the checkout, with template.yaml, spoke.yaml and the folders that they name. To start takes
    about 1 s of processor time, and so does the import of this module; workers start in the background.
    """

    _running: ClassVar["Cloud | None"] = None

    url: str
    data_dir: Path
    stacks: list[Stack]
    trail: Trail
    permissions: Permissions
    failures: Failures
    bus: Bus
    ecr: LocalEcr
    pollers: Pollers

    def __init__(self, policy: Path = DEMO_POLICY, *, root: Path, options: Options | None = None) -> None:
        self.options = options or Options()
        self.policy, self.root, self.stack = policy.resolve(), root.resolve(), self.options.stack
        self.places: list[Place] = places(self.policy)
        self._parts = ExitStack()
        self._listeners: dict[EcrRegistry, Listener] = {}
        self._listening = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Deploy the stacks, open the ports and begin to serve. Raises BadTemplate, and RuntimeError where one runs in
        this process already."""
        if Cloud._running is not None:
            raise RuntimeError("a local cloud runs in this process already: moto's state allows only one")
        with ExitStack() as parts:
            self._start(parts)
            self._parts = parts.pop_all()

    def stop(self) -> None:
        """Close the ports, kill the workers and remove all state. Safe to call twice, and after a failed start."""
        self._parts.close()

    def _start(self, parts: ExitStack) -> None:
        """Start the parts, and register the clean-up of each as soon as it exists."""
        began = time.monotonic()
        self._claim_process(parts)
        self._take_folder(parts)
        self.trail, self.permissions = Trail(), Permissions()
        self.pollers = Pollers(real_time=self.options.real_time)
        self.failures = Failures({place.variable: place.registry for place in self.places})
        self.bus = Bus(
            invoke=lambda arn, payload: self._functions.invoke_later(arn, payload), role_may=self.permissions.role_may
        )
        self.ecr = LocalEcr(
            self.data_dir / "ecr",
            Callbacks(
                clock=lambda: dt.datetime.now(dt.UTC),
                emit=self.bus.emit,
                trail=self.trail.record,
                endpoint_of=self.endpoint_of,
                identify=moto_calls.identify,
                allow=self.permissions.allow,
            ),
            EcrOptions(scanner=self.options.scanner, quotas=self.options.quotas),
        )
        parts.callback(self.ecr.close)
        self.stacks = deploy(
            self.root,
            self.stack,
            [place.registry for place in self.places],
            self.options.parameters,
            built=self.options.built,
        )
        for account in {stack.registry.account for stack in self.stacks}:
            self.permissions.hold(account)
        self._open_ports(parts)
        self._functions = Functions(
            self.stacks[0],
            self.pollers,
            self.permissions.role_may,
            url=self.url,
            policy=self.policy,
            logs=self.data_dir / "logs",
        )
        parts.callback(self._functions.stop)
        moto_calls.ensure_role(DEVELOPER)
        self._developer = moto_calls.assume_role(DEVELOPER, "local", HUB.region)
        self._begin(parts)
        log.info("started in %.1f s: %s", time.monotonic() - began, self.url)

    def _claim_process(self, parts: ExitStack) -> None:
        def release() -> None:
            moto_calls.reset()
            rollouts.FAILING.clear()
            Cloud._running = None

        Cloud._running = self
        parts.callback(release)
        moto_calls.reset()
        moto_calls.STOPPING.clear()

    def _take_folder(self, parts: ExitStack) -> None:
        if self.options.data_dir:
            parts.callback(os.close, folders.lock(self.options.data_dir))
            self.data_dir = self.options.data_dir
        else:
            self.data_dir = folders.make()
            parts.callback(shutil.rmtree, self.data_dir, ignore_errors=True)
        (self.data_dir / "logs").mkdir(parents=True, exist_ok=True)

    def _open_ports(self, parts: ExitStack) -> None:
        endpoint = Endpoint(
            ecr=self.failures.api(self.ecr.api),
            bus=self.bus,
            trail=self.trail,
            invoke=lambda name, kind, body, where: self._functions.answer(name, kind, body, where),
            control=Control(self).answer,
            permissions=self.permissions,
        )
        api = Listener(for_this_machine(endpoint), threads=64, port=self.options.port)
        parts.callback(lambda: Listener.stop_all([api, *self._listeners.values()]))
        parts.callback(self.failures.end)  # runs before: a hanging request would keep its port open
        self.url = f"http://{HOST}:{api.port}"
        api.start()
        for place in self.places:
            self.endpoint_of(place.registry)

    def _begin(self, parts: ExitStack) -> None:
        def stopping() -> None:
            with moto_calls.CHANGED:
                moto_calls.STOPPING.set()
                moto_calls.CHANGED.notify_all()

        self._schedules = Schedules(HUB.account, HUB.region, self._functions.invoke_later)
        self.bus.start()
        parts.callback(self.bus.stop)
        self.pollers.start()
        parts.callback(self.pollers.stop)
        if self.options.schedules:
            self._schedules.start()
            parts.callback(self._schedules.stop)
        parts.callback(stopping)  # registered last, so that it runs first
        self._functions.start_workers()
        self.ecr.resume()

    @property
    def functions(self) -> dict[str, FunctionRunner]:
        """The deployed functions' runners by logical id."""
        return self._functions.runners

    @property
    def registries(self) -> dict[str, str]:
        """`TALLYMAN_REGISTRY_<ENVIRONMENT>_<N>` → `localhost:PORT`, in the policy's order."""
        return {place.variable: self.endpoint_of(place.registry).removeprefix("http://") for place in self.places}

    def environment(self) -> dict[str, str]:
        """The variables for a command in this cloud. The keys are those of the hub's role/developer."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            **self._developer,
            "AWS_REGION": HUB.region,
            "AWS_DEFAULT_REGION": HUB.region,
            **self.registries,
            "TALLYMAN_POLICY": str(self.policy),
            "TALLYMAN_STACK": self.stack,
        }

    def credentials(self, role: str, *, session: str = "local") -> dict[str, str]:
        """The keys of a role (an ARN) as `AWS_…` variables; the role is created where it does not exist."""
        moto_calls.ensure_role(role)
        return moto_calls.assume_role(role, session, HUB.region)

    def endpoint_of(self, registry: EcrRegistry) -> str:
        """`http://localhost:PORT` of a registry; its port opens at the first call."""
        with self._listening:
            listener = self._listeners.get(registry)
            if listener is None:
                fixed = self.options.port and any(place.registry == registry for place in self.places)
                port = self.options.port + 1 + len(self._listeners) if fixed else 0
                listener = Listener(self.failures.v2(registry, self.ecr.v2(registry)), threads=48, port=port)
                self._listeners[registry] = listener
                listener.start()
        return f"http://localhost:{listener.port}"

    def left(self, *, until_due: bool = False) -> dict[str, Any]:
        """The events, messages and invocations that are not done, at one instant; empty when all are.

        `until_due`: with the messages that are due later, for gates that time opens and for retries.
        """
        with moto_calls.LOCK:
            left = self.pollers.left(until_due=until_due)
            if held := self.bus.pending():
                left["bus"] = held
            if backfills := self.ecr.backfills.busy():
                left["backfills"] = backfills
            return left

    def settle(self, timeout: float = 60, *, until_due: bool = False) -> dict[str, Any]:
        """Wait until nothing is `left`, at most `timeout` seconds. Return what is left then."""
        ends = time.monotonic() + timeout
        with moto_calls.CHANGED:
            while left := self.left(until_due=until_due):
                remaining = ends - time.monotonic()
                if remaining <= 0 or moto_calls.STOPPING.is_set():
                    return left
                moto_calls.CHANGED.wait(min(remaining, 0.25))
        return {}

    def kill(self, function: str) -> int:
        """Kill the function's workers (name or logical id); return how many. Raises KeyError: no such function."""
        return self._functions.runner(function).kill()

    def invoke(self, function: str, event: Any) -> Outcome:
        """Run a function and wait. Raises KeyError: no such function."""
        return self.pollers.invoke(self._functions.runner(function), event)

    def fire_schedules(self, minute: int) -> int:
        """Fire the schedules that are due in this minute since the epoch (0: all rates). Return the number of
        invocations."""
        return self._schedules.fire(minute)
