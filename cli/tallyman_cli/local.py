"""`tallyman local …`: the local cloud, from the command line."""

import json
import logging
import os
import signal
import sys
import urllib.error
import urllib.request
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tallyman.adapters.policy_file import load
from tallyman.errors import PolicyError
from tallyman_cli.local_command import ELSEWHERE, Command, Interrupted, environment

if TYPE_CHECKING:
    from tallyman_local.cloud import Cloud

app = typer.Typer(
    name="local",
    help="A whole cloud in one process: ECR, events, functions; no account and no Docker needed.",
    no_args_is_help=True,
)

NOT_INSIDE = "not inside a local cloud: run this below `tallyman local exec -- …`, or export what `local start` prints"


class ScannerMode(StrEnum):
    """Who completes scans."""

    manual = "manual"
    clean = "clean"


PolicyOption = Annotated[
    Path | None, typer.Option("--policy", help="The policy in force; without it the demo's.", metavar="FILE")
]
ScannerOption = Annotated[
    ScannerMode, typer.Option("--scanner", help="manual: a scan waits for `local scan`; clean: it completes by itself.")
]
QuotaOption = Annotated[
    list[str] | None,
    typer.Option("--quota", metavar="NAME=N", help="ECR takes N of these calls a second, as PutImage=10; repeatable."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Keep the registries here; without it nothing outlives the command."),
]
BuiltOption = Annotated[bool, typer.Option("--built", help="Run the functions from the output of `make build`.")]


@app.command("start")
def start(
    policy: PolicyOption = None,
    scanner: ScannerOption = ScannerMode.manual,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Keep AWS's visibility timeouts for messages that failed.")
    ] = False,
    built: BuiltOption = False,
    quota: QuotaOption = None,
    data: DataOption = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65000, help="The API's port; the registries have the next ones.")
    ] = 0,
) -> None:
    """Run in the foreground until Ctrl-C; print the ports and what to export."""
    options: dict[str, Any] = {"quotas": _quotas(quota), "data_dir": data, "port": port}
    cloud = new_cloud(policy, scanner, real_time=real_time, schedules=True, built=built, **options)
    stopped = _Stopped()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stopped)
    try:
        _start(cloud)
        try:
            for place in cloud.places:
                address = cloud.registries[place.variable]
                print(f"# {place.environment}[{place.number}] {place.registry} at {address}")
            for name, value in cloud.environment().items():
                print(f"export {name}={value}")
            print("unset AWS_PROFILE", flush=True)
            stopped.wait()
        finally:
            cloud.stop()
    except Interrupted:
        pass


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def execute(
    command: Annotated[list[str], typer.Argument(metavar="-- CMD …", help="The command and its arguments.")],
    policy: PolicyOption = None,
    scanner: ScannerOption = ScannerMode.manual,
    built: BuiltOption = False,
    quota: QuotaOption = None,
    data: DataOption = None,
) -> None:
    """Run a command inside a local cloud of its own, and exit as it does."""
    cloud = new_cloud(policy, scanner, built=built, quotas=_quotas(quota), data_dir=data)
    stdout = os.dup(1)
    os.dup2(2, 1)  # standard output is the command's alone
    runner = Command(command)
    try:
        _start(cloud)
        try:
            status = runner.run(environment(cloud), stdout)
        finally:
            cloud.stop()
    except Interrupted as interrupted:
        status = 128 + interrupted.number
    sys.stderr.flush()
    raise typer.Exit(status)


@app.command("settle")
def settle(
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait at most.")] = 60,
) -> None:
    """Wait until nothing is under way: events, queues, functions. Exit 1, with what is left, if it takes longer."""
    answer = _ask("settle", {"timeout": timeout}, seconds=timeout + 30)
    if not answer["settled"]:
        print("still under way: " + _describe(answer["left"]), file=sys.stderr)
        raise typer.Exit(1)


@app.command("scan")
def scan(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="ENVIRONMENT/REPOSITORY:TAG or @DIGEST, or an ECR address.")
    ],
    critical: Annotated[int, typer.Option("--critical", min=0, metavar="N")] = 0,
    high: Annotated[int, typer.Option("--high", min=0, metavar="N")] = 0,
    medium: Annotated[int, typer.Option("--medium", min=0, metavar="N")] = 0,
    low: Annotated[int, typer.Option("--low", min=0, metavar="N")] = 0,
    finding: Annotated[
        list[str] | None, typer.Option("--finding", metavar="CVE:SEVERITY", help="A finding by name; repeatable.")
    ] = None,
) -> None:
    """Complete the scan of an image, with these findings (none: clean). Again with others, as often as wanted."""
    findings = [_finding(text) for text in finding or []]
    counts = {"critical": critical, "high": high, "medium": medium, "low": low}
    answer = _ask("scan", {"image": image, "counts": counts, "findings": findings})
    number = answer["findings"]
    print(f"{answer['digest']}: scanned, {number} finding{'s' if number != 1 else ''}", file=sys.stderr)


@app.command("chaos")
def chaos(
    lose: Annotated[
        float, typer.Option("--lose", min=0, max=1, metavar="P", help="Probability that an event is lost.")
    ] = 0,
    double: Annotated[float, typer.Option("--double", min=0, max=1, metavar="P", help="… that it comes twice.")] = 0,
    reorder: Annotated[bool, typer.Option("--reorder", help="Events overtake each other.")] = False,
    delay: Annotated[
        str, typer.Option("--delay", metavar="DURATION", help="Hold each event back: 500ms, 2s, 1m.")
    ] = "0s",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed makes the same choices.")] = 0,
    off: Annotated[bool, typer.Option("--off", help="Deliver what was held back, and properly from now on.")] = False,
) -> None:
    """Lose, double, reorder and delay the events of ECR and Inspector from now on."""
    seconds = _seconds(delay)
    if off:
        if lose or double or reorder or seconds:
            _bad("--off takes no other option")
        answer = _ask("chaos", {"off": True})
    else:
        settings = {"lose": lose, "double": double, "reorder": reorder, "delay": seconds, "seed": seed}
        answer = _ask("chaos", settings)
    counts = answer["counts"]
    print(f"so far: {counts.get('lost', 0)} lost, {counts.get('doubled', 0)} doubled", file=sys.stderr)


@app.command("fail")
def fail(
    registry: Annotated[
        str | None, typer.Argument(metavar="[ENVIRONMENT_N]", help="Which registry: prod_2 is prod's second.")
    ] = None,
    status: Annotated[
        int | None, typer.Option("--status", min=400, max=599, metavar="N", help="Answer everything with this status.")
    ] = None,
    throttle: Annotated[bool, typer.Option("--throttle", help="Answer everything with: Rate exceeded.")] = False,
    hang: Annotated[bool, typer.Option("--hang", help="Take requests, and never answer.")] = False,
    after_bytes: Annotated[
        int | None, typer.Option("--after-bytes", min=0, metavar="N", help="Break each body off after N bytes.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Work again; without a name: all of them.")] = False,
) -> None:
    """Let one registry fail from now on: its /v2/ and its ECR API, not the bus."""
    ways = [status is not None, throttle, hang, after_bytes is not None]
    if off:
        if any(ways):
            _bad("--off takes no other option")
        answer = _ask("fail", {"off": True, "name": registry})
        for ended in answer["ended"]:
            print(f"{ended} works again", file=sys.stderr)
        return
    if registry is None:
        _bad("which registry? expected ENVIRONMENT_N, as in prod_2 (the second of prod)")
    if sum(ways) != 1:
        _bad("how? expected one of --status N, --throttle, --hang and --after-bytes N (or --off)")
    request = {"name": registry, "status": status, "throttle": throttle, "hang": hang, "after_bytes": after_bytes}
    for failing, word in _ask("fail", request)["failing"].items():
        print(f"{failing} {word}", file=sys.stderr)


def _finding(text: str) -> dict[str, str]:
    name, _, severity = text.rpartition(":")
    if not name or not severity:
        _bad(f"--finding {text}: expected CVE:SEVERITY, as in CVE-2026-1234:HIGH")
    return {"name": name, "severity": severity.upper()}


def _seconds(text: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit in ("ms", "s", "m", "h"):
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit():
            return float(number) * units[unit]
    return _bad(f"--delay {text}: expected a number and a unit, as in 500ms, 2s or 1m")


def _describe(left: dict[str, Any]) -> str:
    parts = []
    if left.get("bus"):
        parts.append(f"{left['bus']} events on the bus")
    for queue, counts in left.get("queues", {}).items():
        named = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items() if count)
        parts.append(f"{queue}: {named}")
    if left.get("invocations"):
        parts.append(f"{left['invocations']} invocations")
    if left.get("backfills"):
        parts.append(f"{left['backfills']} replication backfills")
    return "; ".join(parts)


def _quotas(texts: list[str] | None) -> dict[str, float]:
    quotas = {}
    for text in texts or []:
        name, _, number = text.partition("=")
        try:
            quotas[name] = float(number)
        except ValueError:
            _bad(f"--quota {text}: expected NAME=N, as in PutImage=10")
    return quotas


def _bad(message: str) -> NoReturn:
    print(f"tallyman: {message}", file=sys.stderr)
    raise typer.Exit(2)


# ---------------------------------------------------------------- a running cloud


def _ask(path: str, request: dict[str, Any], *, seconds: float = 60) -> dict[str, Any]:
    """Ask the cloud that this command runs in. Exits 2 where there is none or the input is bad, 1 where it says no."""
    url = os.environ.get("AWS_ENDPOINT_URL", "")
    if not url.startswith("http://127.0.0.1:"):
        _bad(NOT_INSIDE)
    call = urllib.request.Request(
        f"{url}/_tallyman/{path}", json.dumps(request).encode(), {"Content-Type": "application/json"}
    )
    # No proxy: the address is this machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(call, timeout=seconds) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer
    except urllib.error.HTTPError as error:
        with error:
            try:
                body = json.loads(error.read())
            except ValueError:
                body = {}
        code, text = body.get("code"), body.get("error")
        if text is None:
            _bad(NOT_INSIDE)
        print(f"tallyman: {code + ': ' if code else ''}{text}", file=sys.stderr)
        raise typer.Exit(1 if error.code == 409 else 2) from None
    except OSError:
        _bad(f"{NOT_INSIDE} (nothing answers at {url})")


# ---------------------------------------------------------------- a cloud of our own


class _Stopped:
    """A signal handler that ends `wait`."""

    def __call__(self, number: int, _: Any) -> None:
        raise Interrupted(number)

    @staticmethod
    def wait() -> None:
        """Until a signal comes."""
        while True:
            signal.pause()


def new_cloud(policy: Path | None, scanner: ScannerMode, **options: Any) -> "Cloud":
    """A local cloud of this checkout, not started; exits 2 where policy or installation don't allow one."""
    if policy is not None:
        try:
            load(policy)  # a cloud whose every function fails at its first line tells less than this
        except PolicyError as error:
            _bad(str(error))
    if os.environ.get("TALLYMAN_LOCAL_VERBOSE"):
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(relativeCreated)d %(message)s")
        logging.getLogger("tallyman.local").setLevel(logging.INFO)
    else:
        logging.getLogger("tallyman.local").addHandler(logging.NullHandler())
        logging.getLogger("tallyman.local").propagate = False
    for name in ELSEWHERE:
        os.environ.pop(name, None)  # moto makes sessions of botocore's, which fail on a profile that is not there
    try:
        import tallyman_local.cloud as local
    except ModuleNotFoundError as error:
        _bad(f"the local cloud is not installed ({error.name} is missing): pip install 'tallyman[local]'")
    from tallyman_local.environments import BadPolicy

    root = Path(local.__file__).resolve().parents[2]
    if not (root / "template.yaml").is_file():
        _bad(f"{root}: no template.yaml: the local cloud runs the stack of a checkout")
    try:
        return local.Cloud(policy or local.DEMO_POLICY, root=root, scanner=scanner.value, **options)
    except BadPolicy as error:
        _bad(str(error))


def _start(cloud: "Cloud") -> None:
    from tallyman_local.ecr.quotas import BadQuota
    from tallyman_local.folders import InUse
    from tallyman_local.template import BadTemplate

    try:
        cloud.start()
    except (InUse, OSError) as error:
        _bad(f"the local cloud can't start: {error}")
    except BadQuota as error:
        _bad(f"--quota {error}")
    except BadTemplate as error:
        _bad(f"the stack can't be deployed: {error}")
