"""Tries Tallyman on a real test account and writes what it saw: `make aws-smoke ACCOUNT=111111111111`.

Deploys a hub of its own name (unless --deployed names one), and its spoke in a second region of the account; creates
repositories, pushes images, and goes through recording, verification, scan, promotion, a recall, a plan of retention
and a lost event; runs the doctor; answers what docs/aws.md has "to confirm"; removes all that it made, after a failure
too. Reports in smoke.json and smoke.md, account ids masked. Exit status: 0 every step passed, 1 not, 2 not begun.

Uses boto3 and the `tallyman` command alone, with your credentials; inside a local cloud it finds that cloud.
"""

import argparse
import base64
import gzip
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ROOT = Path(__file__).resolve().parents[2]
OCI = "application/vnd.oci.image"
USD_A_PUSH = 0.00034
"""docs/operations.md: 1,000 promoted pushes."""


class Skipped(Exception):
    """The step does not apply here; says why."""


@dataclass
class Step:
    """What one step did. `outcome`: passed, failed or skipped."""

    name: str
    outcome: str
    seconds: float
    found: str


@dataclass
class Image:
    """A manifest, and the blobs that it names."""

    raw: bytes
    media_type: str
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.raw)

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.raw)}


def digest_of(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def image(text: str, architecture: str = "amd64", subject: Image | None = None) -> Image:
    """A whole image with one layer that holds one file; with a subject, an artifact that points at it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("smoke.txt")
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))
    layer = gzip.compress(packed.getvalue(), mtime=0)
    rootfs = {"type": "layers", "diff_ids": [digest_of(packed.getvalue())]}
    config = json.dumps({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": {"mediaType": f"{OCI}.config.v1+json", "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": f"{OCI}.layer.v1.tar+gzip", "digest": digest_of(layer), "size": len(layer)}],
    }
    if subject is not None:
        manifest |= {"artifactType": "application/vnd.tallyman.smoke", "subject": subject.descriptor}
    raw = json.dumps(manifest).encode()
    return Image(raw, manifest["mediaType"], {digest_of(b): b for b in (config, layer)})


def index(*children: tuple[Image, str]) -> Image:
    """An index over platform images."""
    entries = [{**each.descriptor, "platform": {"os": "linux", "architecture": arch}} for each, arch in children]
    media_type = f"{OCI}.index.v1+json"
    return Image(json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode(), media_type)


class Smoke:
    """One run. `prefix`: all repositories begin with it."""

    def __init__(self, account: str, region: str, second: str, stack: str | None, patience: float) -> None:
        self.account, self.region, self.second, self.patience = account, region, second, patience
        self.id = secrets.token_hex(3)
        self.deployed, self.stack = stack is not None, stack or f"tallyman-smoke-{self.id}"
        self.prefix = f"rocketseat/smoke-{self.id}"
        self.steps: list[Step] = []
        self.answers: dict[str, str] = {}
        self.pushes = 0
        self.folder = Path(tempfile.mkdtemp(prefix="tallyman-smoke-"))
        self.spoke_made = self.hub_made = False

    # ------------------------------------------------------------------ tools

    def client(self, service: str, region: str = "") -> Any:
        make: Any = boto3.client  # its overloads take literal names of services only
        return make(service, region_name=region or self.region)

    def tallyman(self, *arguments: str, may_fail: bool = False) -> Any:
        """A command's JSON."""
        command = [sys.executable, "-m", "tallyman_cli.start", "--stack", self.stack, *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode and not may_fail:
            raise RuntimeError(f"tallyman {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return json.loads(done.stdout or "null")

    def until(self, what: str, true: Callable[[], Any]) -> Any:
        """What `true` answers as soon as it answers something; RuntimeError after the patience."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            if found := true():
                return found
            time.sleep(2)
        raise RuntimeError(f"{what}: not within {self.patience:g} s")

    def send(
        self, method: str, url: str, body: bytes | None = None, token: str = "", **headers: str
    ) -> tuple[int, Any]:
        """(status, headers) of a request to the registry; errors of HTTP are answers too."""
        request = urllib.request.Request(url, body, method=method)
        if token:
            request.add_header("Authorization", f"Basic {token}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.headers

    def registry(self, name: str) -> tuple[str, str]:
        """(base address of a repository, token)."""
        ecr = self.client("ecr")
        uri = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"]
        host, _, path = uri.partition("/")
        scheme = "http" if host.startswith("localhost") else "https"
        return f"{scheme}://{host}/v2/{path}", self.token()

    def token(self) -> str:
        return str(self.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"])

    def push(self, name: str, pushed: Image, tag: str = "", *children: Image) -> None:
        """Every blob, then children by digest, then the image by its tag."""
        base, token = self.registry(name)
        for each in (*children, pushed):
            for digest, raw in each.blobs.items():
                _, headers = self.send("POST", f"{base}/blobs/uploads/", b"", token)
                location = headers["Location"]
                url = location if location.startswith("http") else base.partition("/v2/")[0] + location
                url += ("&" if "?" in url else "?") + f"digest={digest}"
                status, _ = self.send("PUT", url, raw, token, Content_Type="application/octet-stream")
                if status != 201:
                    raise RuntimeError(f"upload of {digest}: {status}")
            reference = tag if each is pushed and tag else each.digest
            status, _ = self.send("PUT", f"{base}/manifests/{reference}", each.raw, token, Content_Type=each.media_type)
            if status not in (200, 201):
                raise RuntimeError(f"push of {name}:{reference}: {status}")
        self.pushes += 1

    def history(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.tallyman("history", f"dev/{name}")
        return rows

    # ------------------------------------------------------------------ steps

    def deploy(self) -> str:
        """A copy of the checkout with a policy of its own, so that nothing of yours is changed."""
        if self.deployed:
            raise Skipped(f"{self.stack} is there already")
        tree = self.folder / "checkout"
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in listed.splitlines():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
        (tree / "layers/policy/tallyman.yaml").write_text(self.policy())
        config = (tree / "samconfig.toml").read_text()
        config += (
            f'\n[smoke.global.parameters]\nstack_name = "{self.stack}"\n\n'
            "[smoke.deploy.parameters]\nresolve_s3 = true\n"
            'capabilities = "CAPABILITY_IAM CAPABILITY_NAMED_IAM"\nconfirm_changeset = false\n'
            'fail_on_empty_changeset = false\nparameter_overrides = "LogRetentionDays=1"\n'
        )
        (tree / "samconfig.toml").write_text(config)
        self.hub_made = True
        environment = {**os.environ, "AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region}
        subprocess.run(["make", "deploy", "ENV=smoke"], cwd=tree, check=True, env=environment)
        return self.stack

    def policy(self) -> str:
        return f"""\
environments:
  dev: {{registries: [{self.account}/{self.region}]}}
  prod: {{registries: [{self.account}/{self.second}]}}
repositories:
  - match: rocketseat/*
    create: {{immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true}}
    verify: {{layers: content}}
    promotions: [{{from: dev, to: prod, tags: [semver], gates: {{verified: true}}}}]
"""

    def spoke(self) -> str:
        if self.deployed:
            raise Skipped("the spokes of a deployed hub are its owner's")
        stacks = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"][0]["Outputs"]
        bus = next(o["OutputValue"] for o in stacks if o["OutputKey"] == "BusArn")
        given = {"HubAccount": self.account, "HubRegion": self.region, "HubStack": self.stack, "HubBusArn": bus}
        given |= {"CreateRoles": "false"}
        client = self.client("cloudformation", self.second)
        self.spoke_made = True
        client.create_stack(
            StackName=f"{self.stack}-spoke",
            TemplateBody=(ROOT / "spoke.yaml").read_text(),
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
            OnFailure="DELETE",
        )
        client.get_waiter("stack_create_complete").wait(StackName=f"{self.stack}-spoke")
        return f"in {self.second}"

    def repositories(self) -> str:
        for part in ("app", "recalled"):
            made = self.tallyman("repository", "create", f"{self.prefix}/{part}", "--in", "dev")
            if made[0]["state"] not in ("created", "equal"):
                raise RuntimeError(str(made))
        return f"{self.prefix}/app, {self.prefix}/recalled"

    def single(self) -> str:
        self.one = image(f"one {self.id}")
        self.push(f"{self.prefix}/app", self.one, "v1.0.0")
        row = self.until("a row of the push", lambda: self.history(f"{self.prefix}/app"))[0]
        return f"{row['kind']} via {row['via']}"

    def verified(self) -> str:
        name = f"dev/{self.prefix}/app:v1.0.0"
        shown = self.until("a verdict", lambda: self.tallyman("show", name).get("verified"))
        if shown["verdict"] != "passed":
            raise RuntimeError(str(shown))
        return f"{len(shown['checks'])} checks"

    def indexed(self) -> str:
        amd, arm = image(f"amd {self.id}"), image(f"arm {self.id}", "arm64")
        self.two = index((amd, "amd64"), (arm, "arm64"))
        before = len(self.history(f"{self.prefix}/app"))
        self.push(f"{self.prefix}/app", self.two, "v1.1.0", amd, arm)
        rows = self.until("rows of the index", lambda: self.history(f"{self.prefix}/app")[: -before or None])
        self.until(
            "the index by its tag", lambda: [r for r in self.history(f"{self.prefix}/app") if r["tag"] == "v1.1.0"]
        )
        rows = self.history(f"{self.prefix}/app")[:-before]
        told = {r["digest"] for r in rows if r["via"] == "event"}
        self.answers["one PUSH event for each child of an index, and one for it"] = (
            f"events of {len(told)} of 3 manifests"
        )
        platforms = self.tallyman("show", f"dev/{self.prefix}/app:v1.1.0")["platforms"]
        return f"{len(platforms)} platforms"

    def signed(self) -> str:
        self.push(f"{self.prefix}/app", image(f"signature {self.id}", subject=self.one))
        asked = {"repositoryName": f"{self.prefix}/app", "subjectId": {"imageDigest": self.one.digest}}
        found = self.until("the referrer", lambda: self.client("ecr").list_image_referrers(**asked)["referrers"])
        return f"{len(found)} referrer"

    def scanned(self) -> str:
        name = f"dev/{self.prefix}/app:v1.0.0"
        shown = self.until("what the scan found", lambda: self.tallyman("show", name).get("scan"))
        return json.dumps(shown)[:200]

    def promoted(self) -> str:
        name = f"dev/{self.prefix}/app:v1.0.0"
        begun = time.monotonic()

        def is_there() -> bool:
            return bool(self.tallyman("why", name, "--to", "prod", may_fail=True)["verdict"] == "promoted")

        self.until("the promotion", is_there)
        return f"within {time.monotonic() - begun:.0f} s of looking"

    def refused(self) -> str:
        name = f"dev/{self.prefix}/recalled"
        bad = image(f"bad {self.id}")
        self.push(f"{self.prefix}/recalled", bad, "v0.0.1")
        self.until("a row of the push", lambda: self.history(f"{self.prefix}/recalled"))
        self.tallyman("recall", f"{name}@{bad.digest}", "--because", "smoke test")

        def verdict() -> str:
            found = self.tallyman("why", f"{name}@{bad.digest}", "--to", "prod", may_fail=True)
            return "; ".join(g["reason"] or "" for g in found["gates"] if g["verdict"] == "failed")

        return str(self.until("a refusal", verdict))

    def planned(self) -> str:
        plan = self.tallyman("retention", "plan", f"dev/{self.prefix}/app", may_fail=True)
        plan = plan[0] if isinstance(plan, list) else plan
        return f"{len(plan['images'])} images, {sum(i['action'] == 'remove' for i in plan['images'])} to remove"

    def lost(self) -> str:
        """Rules off, a push, rules on: only the sweep can know of it."""
        events, name = self.client("events"), f"{self.prefix}/app"
        rules = [f"{self.stack}-image-own", f"{self.stack}-pushed-own"]
        pushed = image(f"lost {self.id}")
        try:
            for rule in rules:
                events.disable_rule(Name=rule)
            time.sleep(0 if "AWS_ENDPOINT_URL" in os.environ else 60)  # rules change within a minute
            self.push(name, pushed, "v1.2.0")
        finally:
            for rule in rules:
                events.enable_rule(Name=rule)
        self.tallyman("reconcile", f"dev/{name}")
        rows = [r for r in self.history(name) if r["digest"] == pushed.digest]
        if not rows:
            raise RuntimeError("the sweep did not find it")
        return f"{rows[0]['kind']} via {rows[0]['via']}"

    def well(self) -> str:
        found = self.tallyman("doctor", may_fail=True)
        counts = {v: sum(f["verdict"] == v for f in found) for v in ("ok", "warning", "failed", "unknown")}
        self.answers["what the doctor finds"] = "; ".join(f["found"] for f in found if f["verdict"] != "ok")
        return json.dumps(counts)

    def confirmed(self) -> str:
        """What no source states, and one run can see."""
        base, token = self.registry(f"{self.prefix}/app")
        bad = base64.b64encode(b"AWS:expired").decode()
        self.answers["401 or 403 for a bad registry token"] = str(self.send("GET", f"{base}/tags/list", token=bad)[0])
        catalog = base.partition("/v2/")[0] + "/v2/_catalog"
        self.answers["what _catalog answers"] = str(self.send("GET", catalog, token=token)[0])
        before = len(self.history(f"{self.prefix}/app"))
        status, _ = self.send(
            "PUT", f"{base}/manifests/{self.one.digest}", self.one.raw, token, Content_Type=self.one.media_type
        )
        time.sleep(10)
        after = len(self.history(f"{self.prefix}/app"))
        self.answers["the very same image pushed again"] = f"status {status}, {after - before} more rows"
        return f"{len(self.answers)} answers"

    # ------------------------------------------------------------------ the run

    def run(self) -> bool:
        """All steps, then the clean-up; whether everything passed."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("deploy the hub", self.deploy),
            ("deploy the spoke", self.spoke),
            ("create repositories", self.repositories),
            ("record a push", self.single),
            ("verify it", self.verified),
            ("push an index", self.indexed),
            ("push a signature", self.signed),
            ("scan", self.scanned),
            ("promote to the second region", self.promoted),
            ("refuse what was recalled", self.refused),
            ("plan retention", self.planned),
            ("find a lost event", self.lost),
            ("doctor", self.well),
            ("confirm", self.confirmed),
        ]
        try:
            for name, step in steps:
                if not self._step(name, step) and name in ("deploy the hub", "create repositories"):
                    break  # nothing after these can be tried
        finally:
            self._step("remove everything", self.remove)
        return all(step.outcome != "failed" for step in self.steps)

    def _step(self, name: str, step: Callable[[], str]) -> bool:
        begun = time.monotonic()
        try:
            outcome, found = "passed", step()
        except Skipped as why:
            outcome, found = "skipped", str(why)
        except (RuntimeError, OSError, ClientError, BotoCoreError, subprocess.SubprocessError, KeyError) as error:
            outcome, found = "failed", f"{type(error).__name__}: {error}"
        self.steps.append(Step(name, outcome, round(time.monotonic() - begun, 1), found))
        print(self.masked(f"{outcome:8} {name}: {found}"), flush=True)
        return outcome != "failed"

    def remove(self) -> str:  # noqa: C901 - everything that a run made, removed in one order, whatever is missing
        """Repositories of both regions, the spoke, the hub, and what the hub keeps. Goes on after each failure."""
        problems: list[str] = []

        def tried(what: str, act: Callable[[], Any], *gone: str) -> None:
            try:
                act()
            except (ClientError, BotoCoreError) as error:
                if not any(word in str(error) for word in ("NotFound", "does not exist", *gone)):
                    problems.append(f"{what}: {error}")

        for region in (self.region, self.second):
            for part in ("app", "recalled"):
                name, ecr = f"{self.prefix}/{part}", self.client("ecr", region)
                tried(name, lambda ecr=ecr, name=name: ecr.delete_repository(repositoryName=name, force=True))  # type: ignore[misc]
        for made, name, region in (
            (self.spoke_made, f"{self.stack}-spoke", self.second),
            (self.hub_made, self.stack, self.region),
        ):
            if made:
                stacks, dynamodb = self.client("cloudformation", region), self.client("dynamodb", region)
                if name == self.stack:
                    for table in (f"{name}-ledger", f"{name}-state"):
                        off = {"TableName": table, "DeletionProtectionEnabled": False}
                        tried(table, lambda dynamodb=dynamodb, off=off: dynamodb.update_table(**off), "no change")  # type: ignore[misc]
                tried(name, lambda stacks=stacks, name=name: stacks.delete_stack(StackName=name))  # type: ignore[misc]
                waiter = stacks.get_waiter("stack_delete_complete")
                tried(name, lambda waiter=waiter, name=name: waiter.wait(StackName=name))  # type: ignore[misc]
        if self.hub_made:
            for table in (f"{self.stack}-ledger", f"{self.stack}-state"):
                tried(table, lambda table=table: self.client("dynamodb").delete_table(TableName=table))  # type: ignore[misc]
            bucket = boto3.resource("s3").Bucket(f"{self.stack}-archive-{self.account}-{self.region}")
            tried(bucket.name, lambda: bucket.object_versions.delete(), "NoSuchBucket")
            tried(bucket.name, bucket.delete, "NoSuchBucket")
        shutil.rmtree(self.folder, ignore_errors=True)
        if problems:
            raise RuntimeError("; ".join(problems))
        return "nothing is left"

    def masked(self, text: str) -> str:
        """Without account ids."""
        return re.sub(r"(?<!\d)\d{12}(?!\d)", "############", text)

    def report(self, folder: Path) -> None:
        """smoke.json and smoke.md."""
        cost = round(self.pushes * USD_A_PUSH, 4)
        data = {
            "stack": self.stack,
            "regions": [self.region, self.second],
            "steps": [asdict(step) for step in self.steps],
            "confirmed": self.answers,
            "pushes": self.pushes,
            "usd_estimated": cost,
        }
        (folder / "smoke.json").write_text(self.masked(json.dumps(data, indent=2)) + "\n")
        rows = [f"| {s.name} | {s.outcome} | {s.seconds:g} | {s.found.replace('|', '/')} |" for s in self.steps]
        answers = [f"- {question}: {answer}" for question, answer in self.answers.items()]
        lines = [
            "# Tallyman on AWS",
            "",
            "| step | outcome | s | found |",
            "|---|---|---|---|",
            *rows,
            "",
            "## Confirmed",
            "",
        ]
        lines += [
            *answers,
            "",
            f"About {cost} USD for {self.pushes} pushes, and a few cents for the stack's first hour.",
        ]
        (folder / "smoke.md").write_text(self.masked("\n".join(lines)) + "\n")


def main(arguments: list[str]) -> int:
    """Parses the arguments, checks whose credentials these are, runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--account", required=True, help="the account that the credentials belong to")
    parser.add_argument("--region", default="", help="the hub's; else the one of your settings")
    parser.add_argument("--second-region", default="sa-east-1", help="production's")
    parser.add_argument("--deployed", metavar="STACK", help="a hub that is there: deploy and remove none")
    parser.add_argument("--patience", type=float, default=300, help="seconds that one thing is waited for")
    parser.add_argument("--report", type=Path, default=Path(), help="where smoke.json and smoke.md go")
    given = parser.parse_args(arguments)
    region = given.region or os.environ.get("AWS_REGION") or boto3.session.Session().region_name
    if not region:
        print("smoke: no region: --region, or AWS_REGION", file=sys.stderr)
        return 2
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = region
    try:
        found = str(boto3.client("sts", region_name=region).get_caller_identity()["Account"])
    except (ClientError, BotoCoreError) as error:
        print(f"smoke: who are you? {error}", file=sys.stderr)
        return 2
    if found != given.account:
        print(f"smoke: the credentials belong to {found}, not to {given.account}: nothing was done", file=sys.stderr)
        return 2
    smoke = Smoke(found, region, given.second_region, given.deployed, given.patience)
    try:
        return 0 if smoke.run() else 1
    finally:
        smoke.report(given.report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
