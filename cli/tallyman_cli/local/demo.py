"""`tallyman demo`: the whole flow on a local cloud, each step checked."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from tallyman.domain.decide import PROMOTED, Decision
from tallyman.domain.gates import FAILED, WAITING
from tallyman.domain.history.details.promotions import Delayed
from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.details.verifications import Verified
from tallyman.domain.history.facts import Kind
from tallyman.domain.history.fold import TAG_MOVED, digest_at
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, parse_time
from tallyman.errors import TagTaken
from tallyman_cli.build.building import push
from tallyman_cli.build.built_image import attachment
from tallyman_cli.build.signing import BUNDLE, SIGN, KeyFile, bundle, notes
from tallyman_cli.build.statements import statement_of
from tallyman_cli.local.sample import push as push_sample
from tallyman_cli.promotion import candidates
from tallyman_cli.registry.creation import create_in
from tallyman_cli.registry.verify import ask as verify
from tallyman_cli.shared import output, rows
from tallyman_cli.shared.context import Stack, connect
from tallyman_cli.shared.options import option

if TYPE_CHECKING:
    from tallyman_cli.build.signing import Signer
    from tallyman_local.cloud.cloud import Cloud
    from tallyman_local.cloud.sample import Sample

NAME = "rocketseat/widget-server"
SIGNED = "rocketseat/signed-server"
"""A repository whose images go only with a signature by the demo's own key."""


class StepFailed(Exception):
    """A step did not do what it says."""


def demo(
    ui: Annotated[bool, option("--ui", "Then serve the page with the demo's images until Ctrl-C.")] = False,
) -> None:
    """Run the whole flow on a local cloud: create, push, record, verify, scan, promote, refuse, find, sign.

    Each step is checked.

    Exit status: 0 every step did what it should; 1 a step did not.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        with tempfile.TemporaryDirectory(prefix="tallyman-demo-") as folder:
            seconds = _run(Path(folder), ui)
    except StepFailed as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        raise typer.Exit(1) from None
    output.line(f"\nEvery step succeeded, in {seconds:.0f} s. Try next:")
    for command, what in (*NEXT, *(IN_CHECKOUT if Path("template.yaml").exists() else ())):
        output.line(f"  {command:<58} {what}")


def _stop(number: int, _: object) -> NoReturn:
    """End the demo as Ctrl-C does: cloud and folders go with it."""
    raise SystemExit(128 + number)


def _run(folder: Path, ui: bool) -> float:
    """Tell the story, then show the page; return the seconds that the story took."""
    from tallyman_cli.local.cloud import new_cloud
    from tallyman_cli.local.options import ScannerMode

    began, console = time.monotonic(), Console(highlight=False)
    starting = "starting a local cloud: two accounts, two regions, the stack of template.yaml …"
    if not console.is_terminal:
        output.say(starting)
    signer = _new_key()
    with console.status(starting):
        cloud = new_cloud(_policy(folder, signer), ScannerMode.manual)
        cloud.start()
    try:
        os.environ.update(cloud.environment())
        os.environ.pop("AWS_PROFILE", None)
        story = Story(cloud, connect(), console)
        story.run()
        replace(story, name=SIGNED).tell_of_signatures(signer)
        seconds = time.monotonic() - began
        if ui:
            _show(story.stack, cloud)
        return seconds
    finally:
        cloud.stop()


def _show(stack: Stack, cloud: "Cloud") -> None:
    from tallyman_cli.ui.command import desk_of, served, wait

    stack.reconcile({})  # a sweep counts what the registries hold
    with served(desk_of(stack, cloud.stack, str(cloud.policy), allow_changes=True)) as address:
        output.line(f"\nThe demo's images, to look at and to change: {address}\nCtrl-C ends it.")
        wait()


NEXT = (
    ("tallyman demo --ui", "the same, and a page that shows it"),
    ("tallyman ui", "that page for your own stack: read-only, on localhost"),
    ("tallyman local exec -- bash", "a shell inside such a cloud; then, for example:"),
    ("  docker push $TALLYMAN_REGISTRY_DEV_1/…", "any OCI client works; `aws ecr …` too"),
    (f"  tallyman history dev/{NAME}", "what the ledger knows"),
    ("tallyman init", "write a policy of your own"),
)
IN_CHECKOUT = (("make test", "prove all of it"),)


@dataclass
class Story:
    """The steps, in order; each raises StepFailed where it finds anything but what it says."""

    cloud: "Cloud"
    stack: Stack
    console: Console
    name: str = NAME

    def __post_init__(self) -> None:
        self.dev, *_ = self.stack.policy.environment("dev").repositories(self.name)
        self.prod = self.stack.policy.environment("prod").repositories(self.name)

    def run(self) -> None:
        """Every step, with what a person wants to read of it."""
        from tallyman_local.cloud.sample import widget_server

        commit = _commit()
        first, other = widget_server("1.0.0"), widget_server("1.0.0", note="other content")
        bad, damaged, lost = (widget_server(version) for version in ("1.1.0", "1.2.0", "1.3.0"))
        v1 = f"v1.0.0-{commit}"
        self._step("create the repository: immutable, AES256, scanned on push", self._create)
        self._step(f"push {v1} for amd64 and arm64, and latest", lambda: self._push(first, v1, "latest"))
        self._step("recorded, and verified by its bytes", lambda: self._verified(first, v1))
        self._step("scanned: nothing found", lambda: self._scan(first))
        self._step("promoted to both regions of prod", lambda: self._promoted(first, v1))
        self._step(f"push {v1} again with other content: refused", lambda: self._refused(other, v1))
        patch, v101 = widget_server("1.0.1"), f"v1.0.1-{commit}"
        self._step(f"a region of prod is down: {v101} gets no tag anywhere", lambda: self._region_down(patch, v101))
        self._step("the region is back: promoted to both", lambda: self._region_back(patch, v101))
        v2 = f"v1.1.0-{commit}"
        self._step(f"push {v2} and move latest; a critical finding", lambda: self._critical(bad, v2))
        self._step("why is it not in prod?", lambda: self._why(bad, v2))
        self._step("damage a layer in the store; verify again", lambda: self._damage(damaged, f"v1.2.0-{commit}"))
        self._step("lose every event of a push; the sweep finds it", lambda: self._lost(lost, f"v1.3.0-{commit}"))
        self._step("the history of the tags", self._history)
        self._step("what latest was a moment ago", lambda: self._moment_ago(first))

    def tell_of_signatures(self, signer: "Signer") -> None:
        """The same policy, and a signature by one key besides."""
        from tallyman_local.cloud.sample import widget_server

        sample, tag = widget_server("1.0.0", note="signed"), "v1.0.0"
        self._step(f"push {tag} of {self.name}, which nobody has signed: refused", lambda: self._unsigned(sample, tag))
        self._step("signed with another key: refused", lambda: self._foreign(sample, tag))
        self._step("signed with the key of the policy: promoted", lambda: self._signed(sample, tag, signer))

    # ------------------------------------------------------------------ the steps

    def _create(self) -> Iterator[str]:
        for made in create_in(self.stack, self.name, "dev"):
            _expect(made["state"] == "created", f"{made['repository']}: {made['state']}")
            yield f"{made['repository']} ({made['registry']})"

    def _push(self, sample: "Sample", *tags: str) -> Iterator[str]:
        push_sample(self.stack, self.dev, sample, *tags)
        self._settle()
        for tag in tags:
            yield f"dev/{self.name}:{tag}  {output.digest(sample.root.digest)}"

    def _verified(self, sample: "Sample", tag: str) -> Iterator[str]:
        facts = self.stack.ledger.of_digest(sample.root.digest)
        _expect(any(f.kind is Kind.PUSHED and f.tag == tag for f in facts), f"the push of {tag} is not in the ledger")
        found = [f for f in facts if f.kind is Kind.VERIFIED and f.tag == tag]
        _expect(bool(found), f"{tag} was not verified")
        verified = Verified.parse(found[-1])
        _expect(verified.verdict == "passed", f"verification: {verified.verdict}")
        platforms = [f"{p['os']}/{p['architecture']} {output.size(p['size'])}" for p in verified.platforms]
        yield f"{len(verified.checks)} checks passed: {', '.join(platforms)}"

    def _scan(self, sample: "Sample", critical: str = "") -> Iterator[str]:
        findings = [{"name": critical, "severity": "CRITICAL"}] if critical else []
        for child in sample.children:
            self.cloud.ecr.scanner.complete(self.dev.registry, self.dev.name, child.digest, findings)
        self._settle()
        for child in sample.children:
            scans = [f for f in self.stack.ledger.of_digest(child.digest) if f.kind is Kind.SCANNED]
            _expect(bool(scans), f"the scan of {child.digest} is not in the ledger")
            counts = [f"{number} {severity}" for severity, number in Scanned.parse(scans[-1]).counts.items()]
            yield f"{output.digest(child.digest)}: {', '.join(counts) or 'no findings'}"

    def _promoted(self, sample: "Sample", tag: str) -> Iterator[str]:
        decision = self._decision(tag)
        _expect(decision.verdict == PROMOTED, candidates.sentence(self._candidate(tag), decision))
        for place in self.prod:
            there = self.stack.source.manifest(place, tag)
            _expect(there is not None and there.raw == sample.root.raw, f"{place}:{tag} is not what was pushed")
            yield f"{place.registry}  {self.name}:{tag}  {output.digest(sample.root.digest)}"

    def _refused(self, sample: "Sample", tag: str) -> Iterator[str]:
        try:
            list(self._push(sample, tag))
        except TagTaken as error:
            _expect("immutable" in str(error), f"refused with other words: {error}")
            yield str(error)
            return
        raise StepFailed(f"{tag} was overwritten")

    def _region_down(self, sample: "Sample", tag: str) -> Iterator[str]:
        from tallyman_local.ecr.failures import Failure

        list(self._push(sample, tag))
        self.cloud.failures.set(self.prod[1].registry, Failure(status=503))
        for child in sample.children:
            self.cloud.ecr.scanner.complete(self.dev.registry, self.dev.name, child.digest, [])
        ends = time.monotonic() + 60
        while not (delayed := [f for f in self._facts(sample.root.digest) if f.kind is Kind.DELAYED]):
            _expect(time.monotonic() < ends, "the promotion did not notice that a region is down")
            time.sleep(0.1)
        yield Delayed.parse(delayed[-1]).reason
        there = [self._is_tagged(place, tag) for place in self.prod]
        _expect(not any(there), f"{tag} is in {sum(there)} of {len(there)} regions")
        yield "staged where it can be, tagged nowhere; tried again with growing pauses"

    def _region_back(self, sample: "Sample", tag: str) -> Iterator[str]:
        self.cloud.failures.end()
        self.stack.reconcile({"repositories": [f"dev/{NAME}"]})
        self._settle()
        yield from self._promoted(sample, tag)

    def _is_tagged(self, place: Repository, tag: str) -> bool:
        """Whether the store of the registry has the tag: a registry that is down does not answer."""
        from tallyman_local.ecr.errors import EcrError

        try:
            self.cloud.ecr.resolve(place.registry, place.name, tag)
        except EcrError:
            return False
        return True

    def _critical(self, sample: "Sample", tag: str) -> Iterator[str]:
        yield from self._push(sample, tag, "latest")
        yield from self._scan(sample, critical="CVE-2026-1234")
        for place in self.prod:
            _expect(self.stack.source.manifest(place, tag) is None, f"{place}:{tag} is in prod")

    def _why(self, sample: "Sample", tag: str) -> Iterator[str]:
        decision = self._decision(tag)
        _expect(decision.verdict == FAILED, f"the verdict is {decision.verdict}")
        gate = decision.deciding
        _expect(gate is not None and gate.name == "scan", f"decided by {gate.name if gate else 'nothing'}")
        yield candidates.sentence(self._candidate(tag), decision)

    def _damage(self, sample: "Sample", tag: str) -> Iterator[str]:
        list(self._push(sample, tag))
        victim = sample.children[0].layers[-1].digest
        self.cloud.ecr.damage(self.dev.registry, self.dev.name, victim)
        found = verify(self.stack, f"dev/{NAME}:{tag}", timeout=30)
        _expect(found is not None and found["verdict"] == "failed", "the damage was not found")
        assert found is not None  # the line above
        for check in found["checks"]:
            if check["verdict"] == "failed":
                yield f"{check['name']}: {check['reason']}"

    def _lost(self, sample: "Sample", tag: str) -> Iterator[str]:
        from tallyman_local.events.chaos import Settings

        self.cloud.bus.set_chaos(Settings(lose=1.0))
        list(self._push(sample, tag))
        self.cloud.bus.set_chaos(None)
        _expect(not self._facts(sample.root.digest), "an event came through although all were to be lost")
        missed, more = 0, True
        while more:
            outcome = self.stack.reconcile({"repositories": [f"dev/{NAME}"]})
            missed += sum(each["missed"] for each in outcome["registries"])
            more = outcome["more"]
        self._settle()
        facts = self._facts(sample.root.digest)
        _expect(any(f.kind is Kind.PUSHED and f.tag == tag for f in facts), "the sweep did not find the push")
        _expect(missed > 0, "the sweep did not count what it found")
        yield f"{tag} is in the ledger, via reconciled; {missed} events were missed"

    def _history(self) -> Iterator[str]:
        history = rows.of_repository(self.stack.ledger, self.dev)
        for row in history:
            if row.tag:
                yield f"{format_time(row.at)}  {row.kind:<9}  {row.tag:<16}  {output.digest(row.digest)}  {row.via}"
        kinds = {(r.kind, r.tag) for r in history}
        _expect((TAG_MOVED, "latest") in kinds, "the history does not show that latest moved")

    def _moment_ago(self, first: "Sample") -> Iterator[str]:
        history = rows.of_tag(self.stack.ledger, self.dev, "latest")
        move = next((r for r in history if r.kind == TAG_MOVED), None)
        _expect(move is not None, "latest did not move")
        assert move is not None  # the line above
        before = parse_time(format_time(history[-1].at))
        facts = rows.tag_facts(self.stack.ledger, self.dev, "latest")
        was, now = digest_at(facts, self.dev, "latest", before), move.digest
        _expect(was == first.root.digest and now != was, f"latest was {was} at {format_time(before)}")
        yield f"at {format_time(before)}: {output.digest(was)}"
        yield f"since {format_time(move.at)}: {output.digest(now)}"

    def _unsigned(self, sample: "Sample", tag: str) -> Iterator[str]:
        list(self._create())
        list(self._push(sample, tag))
        yield self._refuses(tag, WAITING)

    def _foreign(self, sample: "Sample", tag: str) -> Iterator[str]:
        self._sign(sample, _new_key())
        yield self._refuses(tag, FAILED)

    def _signed(self, sample: "Sample", tag: str, signer: "Signer") -> Iterator[str]:
        self._sign(sample, signer)
        (gate,) = [gate for gate in self._decision(tag).gates if gate.name == "signed"]
        yield gate.reason
        yield from self._promoted(sample, tag)

    def _sign(self, sample: "Sample", signer: "Signer") -> None:
        """Push what `cosign sign` would: a bundle with a signed statement about the image."""
        statement = statement_of(self.name, sample.root, SIGN, {})
        referrer, blobs = attachment(sample.root, BUNDLE, bundle(signer, statement), notes(SIGN))
        push(self.stack, self.dev, referrer, blobs)
        self._settle()

    def _refuses(self, tag: str, verdict: str) -> str:
        decision = self._decision(tag)
        gate = decision.deciding
        _expect(decision.verdict == verdict, f"the verdict is {decision.verdict}")
        _expect(gate is not None and gate.name == "signed", f"decided by {gate.name if gate else 'nothing'}")
        _expect(not any(self._is_tagged(place, tag) for place in self.prod), f"{tag} is in prod")
        return candidates.sentence(self._candidate(tag), decision)

    # ------------------------------------------------------------------ what they share

    def _step(self, title: str, run: Callable[[], Iterator[str]]) -> None:
        with self.console.status(f"{title} …"):
            try:
                lines = list(run())
            except StepFailed as failure:
                output.line(f"✗ {title}")
                raise StepFailed(f"{title}: {failure}") from None
        output.line(f"✓ {title}")
        for text in lines:
            output.line(f"    {text}")

    def _settle(self) -> None:
        left = self.cloud.settle(60)
        _expect(not left, f"still under way after a minute: {left}")

    def _facts(self, digest: Digest) -> list[Any]:
        return self.stack.ledger.of_digest(digest)

    def _candidate(self, tag: str) -> candidates.Candidate:
        return candidates.candidate(self.stack, f"dev/{self.name}:{tag}", "prod")

    def _decision(self, tag: str) -> Decision:
        return candidates.evaluate(self.stack, self._candidate(tag))


def _expect(true: bool, failure: str) -> None:
    if not true:
        raise StepFailed(failure)


def _new_key() -> "Signer":
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = generate_private_key(SECP256R1())
    return KeyFile(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "the demo's key")


def _policy(folder: Path, signer: "Signer") -> Path:
    """The policy of local clouds, with one more rule before its own: images of SIGNED need a signature by this key."""
    from tallyman_local.cloud.cloud import DEMO_POLICY

    rule = {
        "match": SIGNED,
        "create": {"immutable": True},
        "promotions": [{"from": "dev", "to": "prod", "gates": {"verified": True, "signed": {"keys": [signer.pem]}}}],
    }
    text = DEMO_POLICY.read_text("utf-8").replace("repositories:\n", f"repositories:\n  - {json.dumps(rule)}\n")
    path = folder / "tallyman.yaml"
    path.write_text(text, "utf-8")
    return path


def _commit() -> str:
    """The short commit of the checkout, as in the tags of builds; zeros without Git."""
    here = Path(__file__).resolve().parent
    asked = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() if asked.returncode == 0 else "0000000"
