"""The steps of a run, in order. Each does one thing, and returns what it found or raises."""

import base64
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aws import make, questions
from aws.images import Image, image, index, push, send, signature
from aws.site import Site
from botocore.exceptions import ClientError

LOCAL = "AWS_ENDPOINT_URL" in os.environ
RULES = 0 if LOCAL else 60
"""Seconds that EventBridge may take until a change of a rule is in force."""

NEEDED = ("rules", "queues", "round trip", "registries", "events")
"""Checks of the doctor that a stack which was just deployed has to pass."""


class Steps:
    """State that a step leaves for later ones. `answers`: question of docs/aws.md → what was observed."""

    def __init__(self, site: Site, signing_profile: str = "") -> None:
        self.site, self.signing_profile = site, signing_profile
        self.answers: dict[str, str] = dict(questions.OPEN)
        self.one = image(f"one {site.id}")

    def all(self) -> list[tuple[str, Callable[[], str], bool]]:
        """(Name, step, whether the steps after it need it)."""
        return [
            ("deploy the hub", lambda: make.deploy(self.site), True),
            ("deploy the spoke", lambda: make.spoke(self.site), True),
            ("create repositories", self.repositories, True),
            ("record a push", self.single, False),
            ("verify it", self.verified, False),
            ("push an index", self.indexed, False),
            ("push a signature", self.signed, False),
            ("scan", self.scanned, False),
            ("promote to the second region", self.promoted, False),
            ("roll out to a function", self.rolled_out, False),
            ("refuse what was recalled", self.refused, False),
            ("plan retention", self.planned, False),
            ("doctor", self.well, False),
            ("find a lost event", self.lost, False),
            ("confirm: tokens, events, rights", self.confirmed, False),
            ("confirm: signing", self.unsigned, False),
        ]

    def repositories(self) -> str:
        """Create the repositories by the command, as the policy says, and a queue that receives their events."""
        if not self.site.deployed:
            self.answers[questions.TEMPLATES] = f"template.yaml and spoke.yaml deployed in {self.site.hub.region}"
        else:
            self.answers[questions.TEMPLATES] = "not tried: the stack was there before"
        self.watcher = make.Watcher(self.site)
        for name in (self.site.app, self.site.recalled):
            made = self.site.tallyman("repository", "create", name, "--in", "dev")
            if made[0]["state"] not in ("created", "equal"):
                raise RuntimeError(str(made))
        time.sleep(RULES)
        return f"{self.site.app}, {self.site.recalled}"

    def single(self) -> str:
        self.site.push(self.site.app, self.one, "v1.0.0")
        row = self.site.until("a row of the push", lambda: self.site.history(self.site.app))[0]
        by = "accepted, and events arrive" if row["via"] == "event" else "no event arrived; a sweep found the push"
        self.answers[questions.QUEUES] = by
        return f"{row['kind']} via {row['via']}"

    def verified(self) -> str:
        name = f"dev/{self.site.app}:v1.0.0"
        shown = self.site.until("a verdict", lambda: self.site.tallyman("show", name).get("verified"))
        if shown["verdict"] != "passed":
            raise RuntimeError(str(shown))
        return f"{len(shown['checks'])} checks"

    def indexed(self) -> str:
        amd, arm = image(f"amd {self.site.id}"), image(f"arm {self.site.id}", "arm64")
        whole = index((amd, "amd64"), (arm, "arm64"))
        self.site.push(self.site.app, whole, "v1.1.0", amd, arm)
        self.site.until("the index by its tag", lambda: self._row("v1.1.0"))
        named = {"index": whole, "amd64": amd, "arm64": arm}
        with suppress(RuntimeError):  # the answer reports it
            self.site.until("its events", lambda: self.watcher.pushes(whole.digest), 60)
        counted = ", ".join(f"{name} {self.watcher.pushes(each.digest)}" for name, each in named.items())
        self.answers[questions.CHILDREN] = f"events of pushes: {counted}"
        platforms = self.site.tallyman("show", f"dev/{self.site.app}:v1.1.0")["platforms"]
        return f"{len(platforms)} platforms"

    def _row(self, tag: str) -> list[dict[str, Any]]:
        return [row for row in self.site.history(self.site.app) if row["tag"] == tag]

    def signed(self) -> str:
        attached = signature(self.one)
        self.site.push(self.site.app, attached)
        asked = {"repositoryName": self.site.app, "subjectId": {"imageDigest": self.one.digest}}
        ecr = self.site.hub.client("ecr")
        self.site.until("the referrer", lambda: ecr.list_image_referrers(**asked)["referrers"])
        tree = self.site.tallyman("tree", f"dev/{self.site.app}:v1.0.0")
        if attached.digest not in json.dumps(tree):
            raise RuntimeError("tallyman tree does not show the signature")
        return "a referrer, and in tallyman tree"

    def scanned(self) -> str:
        name = f"dev/{self.site.app}:v1.0.0"
        shown = self.site.until("what the scan found", lambda: self.site.tallyman("show", name).get("scan"))
        return json.dumps(shown)[:200]

    def promoted(self) -> str:
        return f"within {self._promotion('v1.0.0'):.0f} s of looking"

    def _promotion(self, tag: str) -> float:
        """Seconds until the tag's image is in production."""
        begun, name = time.monotonic(), f"dev/{self.site.app}:{tag}"

        def is_there() -> bool:
            return bool(self.site.tallyman("why", name, "--to", "prod", may_fail=True)["verdict"] == "promoted")

        self.site.until(f"the promotion of {tag}", is_there)
        return time.monotonic() - begun

    def rolled_out(self) -> str:
        """Create a function that runs the first image; push the second to dev; the alias must move without help."""
        prod = self.site.prod
        found = prod.client("ecr").describe_repositories(repositoryNames=[self.site.app])["repositories"][0]
        uri = str(found["repositoryUri"])
        if uri.startswith("localhost"):
            uri = f"{prod.account}.dkr.ecr.{prod.region}.amazonaws.com/{self.site.app}"
        client = make.function(self.site, f"{uri}@{self.one.digest}")
        following = image(f"two {self.site.id}")
        begun = time.monotonic()
        self.site.push(self.site.app, following, "v1.2.0")

        def moved() -> bool:
            version = client.get_alias(FunctionName=self.site.name, Name=make.ALIAS)["FunctionVersion"]
            code = client.get_function(FunctionName=self.site.name, Qualifier=version)["Code"]
            return following.digest in f"{code.get('ImageUri')} {code.get('ResolvedImageUri')}"

        waited = self._promotion("v1.2.0")
        released = time.monotonic()
        self.site.until("the alias to move", moved)
        now = time.monotonic()
        self.answers[questions.CODE] = f"the alias moved {now - released:.0f} s after the promotion was seen"
        self.answers[questions.RIGHTS] = "roll_out moved a function with the rights that it has"
        return f"promoted within {waited:.0f} s, alias moved {now - begun:.0f} s after the push"

    def refused(self) -> str:
        name, bad = f"dev/{self.site.recalled}", image(f"bad {self.site.id}")
        self.site.push(self.site.recalled, bad, "v0.0.1")
        self.site.until("a row of the push", lambda: self.site.history(self.site.recalled))
        self.site.tallyman("recall", f"{name}@{bad.digest}", "--because", "smoke test")

        def verdict() -> str:
            found = self.site.tallyman("why", f"{name}@{bad.digest}", "--to", "prod", may_fail=True)
            return "; ".join(g["reason"] or "" for g in found["gates"] if g["verdict"] == "failed")

        return str(self.site.until("a refusal", verdict))

    def planned(self) -> str:
        plan = self.site.tallyman("retention", "plan", f"dev/{self.site.app}", may_fail=True)
        plan = plan[0] if isinstance(plan, list) else plan
        return f"{len(plan['images'])} images, {sum(i['action'] == 'remove' for i in plan['images'])} to remove"

    def lost(self) -> str:
        """Disable the rules, push, enable the rules: only the sweep can find the push."""
        events, name = self.site.hub.client("events"), self.site.app
        rules = [f"{self.site.stack}-image-own", f"{self.site.stack}-pushed-own"]
        pushed = image(f"lost {self.site.id}")
        try:
            for rule in rules:
                events.disable_rule(Name=rule)
            time.sleep(RULES)
            self.site.push(name, pushed, "v1.3.0")
            time.sleep(RULES / 6)  # time for its event to pass
        finally:
            for rule in rules:
                events.enable_rule(Name=rule)
        if self._row("v1.3.0"):
            raise RuntimeError("its event came in spite of the rules that were off")
        self.site.tallyman("reconcile", f"dev/{name}")
        rows = self._row("v1.3.0")
        if not rows:
            raise RuntimeError("the sweep did not find it")
        return f"{rows[0]['kind']} via {rows[0]['via']}"

    def well(self) -> str:
        found = self.site.tallyman("doctor", may_fail=True)
        counts = {v: sum(f["verdict"] == v for f in found) for v in ("ok", "warning", "failed", "unknown")}
        quotas = [f["found"] for f in found if f["check"] == "quotas"]
        self.answers[questions.QUOTAS] = "; ".join(quotas) or "the doctor could not say"
        others = [f"{f['check']}: {f['found']}" for f in found if f["verdict"] != "ok"]
        said = f"{json.dumps(counts)} {'; '.join(others)}"
        if any(f["verdict"] == "failed" and f["check"] in NEEDED for f in found):
            raise RuntimeError(said)
        return said

    def confirmed(self) -> str:
        """Answer the questions that no documentation answers but one run can."""
        base, token = self.site.base(self.site.app)
        bad = base64.b64encode(b"AWS:expired").decode()
        self.answers[questions.TOKEN] = f"{send('GET', f'{base}/tags/list', token=bad)[0]} for a token that is none"
        catalog = base.partition("/v2/")[0] + "/v2/_catalog"
        self.answers[questions.CATALOG] = f"status {send('GET', catalog, token=token)[0]}"
        self.answers[questions.AGAIN] = "; ".join(self._again(base, token, tag) for tag in ("v1.0.0", "latest"))
        self.answers[questions.ENTRIES] = self._entries()
        return "tokens, _catalog, the same image again, several entries"

    def _again(self, base: str, token: str, tag: str) -> str:
        """Push an image again by a tag that it already has; return the status and the number of events."""
        wait = 2 if LOCAL else 20
        if tag == "latest":
            push(base, token, self.one, tag)
            time.sleep(wait)
        before = self.watcher.pushes(self.one.digest)
        status = push(base, token, self.one, tag)
        time.sleep(wait)
        kind = "mutable" if tag == "latest" else "immutable"
        return f"{kind} tag: status {status}, {self.watcher.pushes(self.one.digest) - before} events"

    def _entries(self) -> str:
        """A role that may send one kind of event sends it together with another kind."""
        partition = self.site.hub.session.get_partition_for_region(self.site.hub.region)
        bus = f"arn:{partition}:events:{self.site.hub.region}:{self.site.hub.account}:event-bus/default"
        asked = {"StringEquals": {"events:source": "tallyman.smoke", "events:detail-type": "Allowed"}}
        may = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": bus, "Condition": asked}
        client = make.limited(self.site, [may]).client("events")
        entries = [
            {"Source": "tallyman.smoke", "DetailType": kind, "Detail": "{}"} for kind in ("Allowed", "Forbidden")
        ]
        try:
            answer = client.put_events(Entries=entries)
        except ClientError as error:
            return f"the whole call is refused: {error.response['Error']['Code']}"
        return "; ".join(str(each.get("ErrorCode") or "taken") for each in answer["Entries"])

    def unsigned(self) -> str:
        """With a signing profile: ECR signs what is pushed to the run's repositories, and a role without signing
        permissions pushes."""
        if not self.signing_profile:
            raise make.Skipped(questions.OPEN[questions.UNSIGNED])
        ecr, push_only = self.site.hub.client("ecr"), ("BatchCheckLayerAvailability", "CompleteLayerUpload")
        try:
            ecr.get_signing_configuration()
        except ClientError:
            pass  # there is none, so nothing is overwritten
        else:
            raise make.Skipped("the registry has a signing configuration, which a run does not replace")
        actions = [f"ecr:{name}" for name in (*push_only, "InitiateLayerUpload", "PutImage", "UploadLayerPart")]
        rights = [{"Effect": "Allow", "Action": [*actions, "ecr:GetAuthorizationToken"], "Resource": "*"}]
        self.site.remove_later("the signing configuration", ecr.delete_signing_configuration)
        filters = [{"filter": f"{self.site.prefix}/*", "filterType": "WILDCARD_MATCH"}]
        rule = {"signingProfileArn": self.signing_profile, "repositoryFilters": filters}
        ecr.put_signing_configuration(signingConfiguration={"rules": [rule]})
        token = make.limited(self.site, rights).client("ecr").get_authorization_token()
        pushed: Image = image(f"unsigned {self.site.id}")
        base, _ = self.site.base(self.site.app)
        status = push(base, token["authorizationData"][0]["authorizationToken"], pushed, "unsigned")
        self.answers[questions.UNSIGNED] = f"status {status}"
        return f"status {status}"
