"""`tallyman local …`: runs and controls the local cloud."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tallyman.errors import BadInput
from tallyman_cli.local.cloud import new_cloud, running
from tallyman_cli.local.exec_command import Command, Interrupted, environment
from tallyman_cli.local.options import (
    BuiltOption,
    DataOption,
    PolicyOption,
    QuotaOption,
    ScannerMode,
    ScannerOption,
    parse_delay,
    parse_finding,
    parse_quotas,
)
from tallyman_cli.local.running import ask, describe
from tallyman_cli.local.sample import sample
from tallyman_cli.shared import options, output
from tallyman_cli.shared.options import argument, option

if TYPE_CHECKING:
    from tallyman_local.cloud.cloud import Cloud

MOST_FINDINGS = 10_000
"""Findings of one severity that a scan may have: the local cloud makes each of them."""

app = typer.Typer(
    name="local",
    help="Run and control a whole cloud in one process: ECR, events and functions. Needs no account and no Docker.",
    no_args_is_help=True,
)


def _probability(given: float) -> float:
    if not 0 <= given <= 1:  # NaN is in no range
        raise typer.BadParameter(f"{given} is not a probability: expected 0 to 1")
    return given


@app.command("start")
def start(  # noqa: PLR0913 - each argument is an option of the command
    policy: PolicyOption = None,
    scanner: ScannerOption = ScannerMode.manual,
    real_time: Annotated[
        bool, option("--real-time", "Retry failed messages after AWS's visibility timeout, not within a second.")
    ] = False,
    built: BuiltOption = False,
    quota: QuotaOption = None,
    data: DataOption = None,
    port: Annotated[
        int, option("--port", "The API's port; the registries get the next ones (0: free ports).", min=0, max=65000)
    ] = 0,
    ui: Annotated[bool, option("--ui", "Also serve the page of this cloud, with buttons.")] = False,
) -> None:
    """Run a local cloud in the foreground.

    Prints its ports and the variables to export. Ctrl-C ends it.
    """
    options: dict[str, Any] = {"quotas": parse_quotas(quota), "data_dir": data, "port": port}
    cloud = new_cloud(policy, scanner, real_time=real_time, schedules=True, built=built, **options)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with suppress(Interrupted), running(cloud) as variables:
        for place in cloud.places:
            address = cloud.registries[place.variable]
            print(f"# {place.environment}[{place.number}] {place.registry} at {address}")
        for name, value in variables.items():
            print(f"export {name}={value}")
        print("unset AWS_PROFILE", flush=True)
        with _page(cloud) if ui else nullcontext():
            while True:  # not `signal.pause`, which misses a signal that comes just before it
                time.sleep(0.5)


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def execute(
    command: Annotated[list[str], argument("-- CMD", "The command and its arguments.")],
    policy: PolicyOption = None,
    scanner: ScannerOption = ScannerMode.manual,
    built: BuiltOption = False,
    quota: QuotaOption = None,
    data: DataOption = None,
) -> None:
    """Run a command inside a new local cloud.

    The cloud ends with the command. Exit status: that of the command.
    """
    cloud = new_cloud(policy, scanner, built=built, quotas=parse_quotas(quota), data_dir=data)
    stdout = os.dup(1)
    os.dup2(2, 1)  # standard output is the command's alone
    runner = Command(command)
    try:
        with running(cloud) as variables:
            status = runner.run(environment(variables), stdout)
    except Interrupted as interrupted:
        status = 128 + interrupted.number
    sys.stderr.flush()
    raise typer.Exit(status)


app.command("sample")(sample)


@app.command("settle")
def settle(
    timeout: Annotated[float, option("--timeout SECONDS", "How long to wait at most.", callback=options.seconds)] = 60,
    until_due: Annotated[
        bool, option("--until-due", "Also wait for work that is due later: timed gates and pauses before retries.")
    ] = False,
) -> None:
    """Wait until no event, message or function is in progress.

    Exit status: 0 nothing is in progress; 1 something is left.
    """
    answer = ask("settle", {"timeout": timeout, "until_due": until_due}, seconds=timeout + 30)
    if not answer["settled"]:
        print("still in progress: " + describe(answer["left"]), file=sys.stderr)
        raise typer.Exit(1)


@app.command("scan")
def scan(
    image: Annotated[str, argument("IMAGE", "ENVIRONMENT/REPOSITORY:TAG or @DIGEST, or an ECR address.")],
    critical: Annotated[int, option("--critical N", "Number of critical findings.", min=0, max=MOST_FINDINGS)] = 0,
    high: Annotated[int, option("--high N", "Number of high findings.", min=0, max=MOST_FINDINGS)] = 0,
    medium: Annotated[int, option("--medium N", "Number of medium findings.", min=0, max=MOST_FINDINGS)] = 0,
    low: Annotated[int, option("--low N", "Number of low findings.", min=0, max=MOST_FINDINGS)] = 0,
    finding: Annotated[
        list[str] | None, option("--finding CVE:SEVERITY", "A finding by name; may be repeated.")
    ] = None,
) -> None:
    """Complete the scan of an image.

    Without findings, the image is clean. You can complete a scan again with other findings.
    """
    findings = [parse_finding(text) for text in finding or []]
    counts = {"critical": critical, "high": high, "medium": medium, "low": low}
    answer = ask("scan", {"image": image, "counts": counts, "findings": findings})
    print(f"{answer['digest']}: scanned, {output.counted(answer['findings'], 'finding')}", file=sys.stderr)


@app.command("chaos")
def chaos(
    lose: Annotated[float, option("--lose P", "Probability that an event is lost.", callback=_probability)] = 0,
    double: Annotated[
        float, option("--double P", "Probability that an event is delivered twice.", callback=_probability)
    ] = 0,
    reorder: Annotated[bool, option("--reorder", "Deliver events in another order.")] = False,
    delay: Annotated[str, option("--delay DURATION", "Delay each event: 500ms, 2s, 1m.")] = "0s",
    seed: Annotated[int, option("--seed N", "The same seed makes the same choices.")] = 0,
    off: Annotated[bool, option("--off", "End all of it, and deliver the delayed events.")] = False,
) -> None:
    """Lose, duplicate, reorder and delay events.

    Affects the events of ECR and Inspector from now on, until --off.
    """
    seconds = parse_delay(delay)
    if off:
        if lose or double or reorder or seconds:
            raise BadInput("--off takes no other option")
        settings: dict[str, Any] = {"off": True}
    else:
        settings = {"lose": lose, "double": double, "reorder": reorder, "delay": seconds, "seed": seed}
    counts = ask("chaos", settings)["counts"]
    print(f"so far: {counts.get('lost', 0)} lost, {counts.get('doubled', 0)} doubled", file=sys.stderr)


@app.command("fail")
def fail(
    registry: Annotated[str | None, argument("ENVIRONMENT_N", "The registry: prod_2 is the second of prod.")] = None,
    status: Annotated[
        int | None, option("--status N", "Answer every request with this status.", min=400, max=599)
    ] = None,
    throttle: Annotated[bool, option("--throttle", "Throttle every request (Rate exceeded).")] = False,
    hang: Annotated[bool, option("--hang", "Accept requests but never answer.")] = False,
    after_bytes: Annotated[int | None, option("--after-bytes N", "Cut off each body after N bytes.", min=0)] = None,
    off: Annotated[bool, option("--off", "End the failure; without a name, of all registries.")] = False,
) -> None:
    """Make a registry fail.

    Affects its /v2/ and its ECR API, but not the event bus, from now on, until --off.
    """
    ways = [status is not None, throttle, hang, after_bytes is not None]
    if off:
        if any(ways):
            raise BadInput("--off takes no other option")
        answer = ask("fail", {"off": True, "name": registry})
        for ended in answer["ended"]:
            print(f"{ended} works again", file=sys.stderr)
        return
    if registry is None:
        raise BadInput("which registry? expected ENVIRONMENT_N, as in prod_2 (the second of prod)")
    if sum(ways) != 1:
        raise BadInput("how? expected one of --status N, --throttle, --hang and --after-bytes N (or --off)")
    request = {"name": registry, "status": status, "throttle": throttle, "hang": hang, "after_bytes": after_bytes}
    for failing, word in ask("fail", request)["failing"].items():
        print(f"{failing} {word}", file=sys.stderr)


@contextmanager
def _page(cloud: "Cloud") -> Iterator[None]:
    """The page of this cloud, with its credentials."""
    from tallyman_cli.shared.context import connect
    from tallyman_cli.ui.command import desk_of, served

    os.environ.update(cloud.environment())
    with served(desk_of(connect(), cloud.stack, str(cloud.policy), allow_changes=True)) as address:
        print(f"# the page: {address}", flush=True)
        yield


def _interrupt(number: int, _: object) -> NoReturn:
    raise Interrupted(number)
