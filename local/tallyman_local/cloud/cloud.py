"""The local cloud put together: `with Cloud(policy, root=checkout) as cloud: …`."""

import datetime as dt
import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from tallyman.domain.names import Registry
from tallyman_local.moto import imported as imported  # first: everything else imports moto

# isort: split
from tallyman_local.aws.endpoint import Endpoint
from tallyman_local.aws.permissions import Permissions
from tallyman_local.aws.trail import Trail
from tallyman_local.cloud import folders
from tallyman_local.cloud.control import Control
from tallyman_local.cloud.environments import Place, places
from tallyman_local.ecr import LocalEcr
from tallyman_local.ecr.failures import Failures
from tallyman_local.events.bus import Bus
from tallyman_local.events.schedules import Schedules
from tallyman_local.moto import calls as moto_calls
from tallyman_local.moto import rollouts
from tallyman_local.runtime.functions import Functions
from tallyman_local.runtime.lambdas import FunctionRunner, Outcome
from tallyman_local.runtime.pollers import Pollers
from tallyman_local.server.http import HOST, Listener, for_this_machine
from tallyman_local.stack import deploy
from tallyman_local.stack.deploy import HUB, Stack

log = logging.getLogger("tallyman.local")

STACK = "tallyman"
DEVELOPER = f"arn:aws:iam::{HUB.account}:role/developer"
_OF_SPOKES = ("RollOut", "People", "SigningProfile")
"""Parameters of Cloud with these beginnings are the spokes' as well."""
DEMO_POLICY = Path(__file__).with_name("demo.yaml")


class Cloud:
    """All accounts and regions that a policy names, with the hub's stack and the spokes deployed.

    One at a time in a process (moto's state is the process's); several processes don't meet. `root` is the
    checkout: template.yaml, spoke.yaml and what they refer to; with `built`, functions run from
    `.aws-sam/build`. Without `data_dir` everything on disk is in a temporary folder that goes with it.
    `scanner` is `manual` or `clean`; `real_time` keeps queues' visibility timeouts for what failed;
    `schedules` fires scheduled rules; `quotas` limits ECR's calls (see `ecr.rules.quotas`); `port` is the
    API's, the next ones are the registries' (0: free ones). Starting costs about 2 s of CPU; the functions' workers
    start behind it.
    """

    _running: ClassVar["Cloud | None"] = None

    def __init__(
        self,
        policy: Path = DEMO_POLICY,
        *,
        root: Path,
        data_dir: Path | None = None,
        scanner: Literal["manual", "clean"] = "manual",
        real_time: bool = False,
        schedules: bool = False,
        built: bool = False,
        stack: str = STACK,
        parameters: dict[str, str] | None = None,
        quotas: dict[str, float] | None = None,
        port: int = 0,
    ) -> None:
        self.policy, self.root, self.stack = policy.resolve(), root.resolve(), stack
        self.places: list[Place] = places(self.policy)
        self.stacks: list[Stack] = []
        self._scanner, self._real_time, self._with_schedules, self._built = scanner, real_time, schedules, built
        self._data_dir, self._temporary = data_dir, data_dir is None
        self._parameters, self._quotas, self._port = parameters or {}, quotas, port
        self._lock: int | None = None
        self._listeners: dict[Registry, Listener] = {}
        self._listening = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Deploy, open the ports, begin to work. Raises BadTemplate; RuntimeError if one runs in this process."""
        if Cloud._running is not None:
            raise RuntimeError("one local cloud runs in this process already: moto's state is the process's")
        Cloud._running = self
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        began = time.monotonic()
        moto_calls.reset()
        moto_calls.STOPPING.clear()
        if self._data_dir:
            self._lock = folders.lock(self._data_dir)
        self.data_dir = self._data_dir or folders.make()
        (self.data_dir / "logs").mkdir(parents=True, exist_ok=True)
        self.trail = Trail()
        self.permissions = Permissions()
        self.pollers = Pollers(real_time=self._real_time)
        self.failures = Failures(self.places)
        self.bus = Bus(invoke=lambda arn, payload: self._functions.invoke_later(arn, payload))
        self.ecr = LocalEcr(
            self.data_dir / "ecr",
            clock=lambda: dt.datetime.now(dt.UTC),
            emit=self.bus.emit,
            trail=self.trail.record,
            endpoint_of=self.endpoint_of,
            identify=moto_calls.identify,
            allow=self.permissions.allow,
            scanner=self._scanner,
            quotas=self._quotas,
        )
        self._deploy()
        for place in self.places:
            self.endpoint_of(place.registry)
        endpoint = Endpoint(
            ecr=self.failures.api(self.ecr.api),
            bus=self.bus,
            trail=self.trail,
            invoke=lambda name, kind, body, where: self._functions.answer(name, kind, body, where),
            control=Control(self).answer,
            now=lambda: dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            permissions=self.permissions,
        )
        self._api = Listener(for_this_machine(endpoint), threads=64, port=self._port)
        self.url = f"http://{HOST}:{self._api.port}"
        self._api.start()
        self._functions = Functions(self.stacks[0], self.pollers, self.url, self.policy, self.data_dir / "logs")
        moto_calls.ensure_role(DEVELOPER)
        self._developer = moto_calls.assume_role(DEVELOPER, "local", HUB.region)
        self.bus.start()
        self.pollers.start()
        self._schedules = Schedules(HUB.account, HUB.region, self._functions.invoke_later)
        if self._with_schedules:
            self._schedules.start()
        self._functions.start_workers()
        self.ecr.resume()
        log.info("started in %.1f s: %s", time.monotonic() - began, self.url)

    def stop(self) -> None:
        """Close the ports, kill the workers, forget everything. Safe to call twice, and after a failed start."""
        if Cloud._running is not self:
            return
        with moto_calls.CHANGED:
            moto_calls.STOPPING.set()
            moto_calls.CHANGED.notify_all()
        for part in ("_schedules", "pollers", "bus"):
            thing = getattr(self, part, None)
            if thing is not None and _was_started(thing):
                thing.stop()
        for runner in self.functions.values():
            runner.stop()
        if failures := getattr(self, "failures", None):
            failures.end()
        listeners = list(self._listeners.values())
        if api := getattr(self, "_api", None):
            listeners.append(api)
        Listener.stop_all(listeners)
        if ecr := getattr(self, "ecr", None):
            ecr.close()
        moto_calls.reset()
        rollouts.reset()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._temporary and hasattr(self, "data_dir"):
            shutil.rmtree(self.data_dir, ignore_errors=True)
        Cloud._running = None

    def _deploy(self) -> None:
        hub, spokes = self.stack, []
        for place in self.places:
            if place.registry != HUB and place.registry not in spokes:
                spokes.append(place.registry)
        accounts = sorted({registry.account for registry in spokes} - {HUB.account})
        parameters = {"SpokeAccounts": ",".join(accounts), "DeletionProtection": "false", **self._parameters}
        self.stacks.append(deploy.deploy_hub(self.root, hub, parameters=parameters, built=self._built))
        seen: set[str] = set()
        bus = self.stacks[0].outputs.get("BusArn", "")
        for registry in spokes:
            values = {
                "HubAccount": HUB.account,
                "HubRegion": HUB.region,
                "HubStack": hub,
                "HubBusArn": bus,
                "CanPush": "true",
                "CanRemove": "true",
                "PeopleRoles": f"arn:aws:iam::{HUB.account}:role/*",
                "PeopleChangeRoles": f"arn:aws:iam::{HUB.account}:role/*",
                "CreateRoles": str(registry.account not in seen).lower(),
            }
            values |= {name: value for name, value in self._parameters.items() if name.startswith(_OF_SPOKES)}
            seen.add(registry.account)
            name = hub if registry.account != HUB.account else f"{hub}-spoke"
            self.stacks.append(deploy.deploy_spoke(self.root, name, registry, values))
        for account in {HUB.account, *accounts}:
            self.permissions.hold(account)

    # ------------------------------------------------------------------ what others use

    @property
    def functions(self) -> dict[str, FunctionRunner]:
        """The deployed functions' runners by logical id."""
        return self._functions.runners if hasattr(self, "_functions") else {}

    @property
    def registries(self) -> dict[str, str]:
        """`TALLYMAN_REGISTRY_<ENVIRONMENT>_<N>` → `localhost:PORT`, in the policy's order."""
        return {place.variable: self.endpoint_of(place.registry).removeprefix("http://") for place in self.places}

    def environment(self) -> dict[str, str]:
        """What a command inside needs: endpoint, keys of role/developer of the hub, registries, policy, stack."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            **self._developer,
            "AWS_REGION": HUB.region,
            "AWS_DEFAULT_REGION": HUB.region,
            **self.registries,
            "TALLYMAN_POLICY": str(self.policy),
            "TALLYMAN_STACK": self.stack,
        }

    def credentials(self, role: str, *, session: str = "local", region: str = HUB.region) -> dict[str, str]:
        """`AWS_…` keys of any role of any account, by ARN; the role is created if it is not there."""
        moto_calls.ensure_role(role)
        return moto_calls.assume_role(role, session, region)

    def endpoint_of(self, registry: Registry) -> str:
        """`http://localhost:PORT` of a registry; its port opens when it is first asked for."""
        with self._listening:
            listener = self._listeners.get(registry)
            if listener is None:
                fixed = self._port and any(place.registry == registry for place in self.places)
                port = self._port + 1 + len(self._listeners) if fixed else 0
                listener = Listener(self.failures.v2(registry, self.ecr.v2(registry)), threads=48, port=port)
                self._listeners[registry] = listener
                listener.start()
        return f"http://localhost:{listener.port}"

    def left(self, *, until_due: bool = False) -> dict[str, Any]:
        """What is still under way, empty when nothing is; at one instant, with nothing in between.

        With `until_due` also each message that is due later: what time alone opens, and pauses before a retry.
        """
        with moto_calls.LOCK:
            left = self.pollers.left(until_due=until_due)
            if held := self.bus.pending():
                left["bus"] = held
            if backfills := self.ecr.backfills.busy():
                left["backfills"] = backfills
            return left

    def settle(self, timeout: float = 60, *, until_due: bool = False) -> dict[str, Any]:
        """Wait until nothing is under way, at most `timeout` seconds; returns what is left, empty if all is done.

        With `until_due` nothing may be due later either.
        """
        ends = time.monotonic() + timeout
        with moto_calls.CHANGED:
            while left := self.left(until_due=until_due):
                remaining = ends - time.monotonic()
                if remaining <= 0 or moto_calls.STOPPING.is_set():
                    return left
                moto_calls.CHANGED.wait(min(remaining, 0.25))
        return {}

    def kill(self, function: str) -> int:
        """Kill the function's workers (name or logical id); returns how many. Raises KeyError: no such function."""
        return self._functions.runner(function).kill()

    def invoke(self, function: str, event: Any) -> Outcome:
        """Run a function and wait. Raises KeyError: no such function."""
        return self.pollers.invoke(self._functions.runner(function), event)

    def fire_schedules(self, minute: int = 0) -> int:
        """Fire the schedules due in this minute (0: all rates); returns how many invocations it started."""
        return self._schedules.fire(minute)

    # ------------------------------------------------------------------ inside


def _was_started(thing: Any) -> bool:
    thread = getattr(thing, "_thread", None)
    return bool(thread and thread.ident)
