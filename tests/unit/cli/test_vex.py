"""VEX from the registry to the verdict: signed bundles that are attached, verified, recorded, and applied."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from support.fakes.cli_stack import POLICY, FakeStack
from support.images import signing
from support.images.builders import DEV, PROD, Built, image, multi_arch, referrer
from support.images.signing import PrivateKey, new_key
from tallyman.adapters.files import policy_file
from tallyman.adapters.files.signatures import OriginSignatures
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.images.details import Finding, ScanReport
from tallyman_cli.ui.app import Application
from tallyman_cli.ui.desk import Desk

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
OPENVEX = "https://openvex.dev/ns/v0.2.0"
V1 = "dev/rocketseat/widget-server:v1.0.0"


class VexStack:
    """An image in dev with a critical finding, and a promotion to prod whose scan gate accepts VEX statements of one
    key."""

    def __init__(self, system: FakeStack, folder: Path, built: Built | None = None) -> None:
        self.system, self.key, self.app = system, new_key(), built or image("app")
        system.signatures = OriginSignatures(folder)
        gates = {"verified": True, "scan": {"max": {"critical": 0}, "vex": {"keys": [signing.pem(self.key)]}}}
        text = POLICY.replace("{verified: true, scan: {max: {critical: 0}}}", json.dumps(gates))
        system.policy = policy_file.loads(text.encode()).for_hub(DEV.registry)
        system.stack.given = system.policy
        system.push(self.app, "v1.0.0")
        finding = Finding("CVE-1", "critical", "openssl")
        for digest in [child.digest for child in self.app.root.platform_children] or [self.app.digest]:
            report = ScanReport("complete", {"critical": 1}, (finding,), system.clock())
            system.service("record_scan").record(DEV, digest, report, Via.EVENT)
            system.services.evaluator.digest(digest)
        system.work()

    def says(self, status: str, key: PrivateKey | None = None, minutes: int = 0, digest: str | None = None) -> Built:
        """Attach a signed statement to the image."""
        at = f"2026-11-01T12:{minutes:02d}:00Z"
        said: dict[str, Any] = {"vulnerability": {"name": "CVE-1"}, "status": status, "impact_statement": "not called"}
        document = {"@context": OPENVEX, "author": "Ana", "timestamp": at, "statements": [said]}
        inner = signing.statement(digest or self.app.digest, OPENVEX, document)
        bundle = signing.bundle(signing.envelope(key or self.key, inner))
        made = referrer(self.app, BUNDLE, json.dumps(bundle), {"dev.sigstore.bundle.predicateType": OPENVEX})
        self.system.push(made, None)
        self.system.work()
        return made

    @property
    def gate(self) -> tuple[str, str]:
        found = json.loads(self.system.run("why", V1, "--to", "prod", "--json").stdout)
        (gate,) = [g for g in found["gates"] if g["name"] == "scan"]
        return gate["verdict"], gate["reason"]

    @property
    def went(self) -> bool:
        self.system.work()
        return self.system.registries.tag_of(PROD, "v1.0.0") == self.app.digest


@pytest.fixture
def vex_stack(everywhere: FakeStack, tmp_path: Path) -> VexStack:
    return VexStack(everywhere, tmp_path)


def test_a_signed_statement_opens_the_gate_and_why_names_its_signer(vex_stack: VexStack) -> None:
    assert (vex_stack.gate, vex_stack.went) == (("failed", "1 critical finding (at most 0)"), False)
    vex_stack.says("not_affected")
    verdict, reason = vex_stack.gate
    assert (verdict, vex_stack.went) == ("passed", True)
    assert "1 ignored by VEX of Ana (key SHA256:" in reason
    assert reason.endswith("not called")
    (fact,) = [f for f in vex_stack.system.ledger.facts if f.kind is Kind.ORIGIN]
    result = Origin.parse(fact)
    assert (result.verdict, result.statement, (result.vex or {})["author"]) == ("verified", OPENVEX, "Ana")


@pytest.mark.parametrize("built", [image("app"), multi_arch()], ids=["image", "index"])
def test_find_shows_findings_that_vex_ignores(everywhere: FakeStack, tmp_path: Path, built: Built) -> None:
    vex_stack = VexStack(everywhere, tmp_path, built)
    assert [row["ignored_by_vex"] for row in everywhere.json("find", "CVE-1")["images"]] == [[]]
    said = vex_stack.says("not_affected")
    rows = everywhere.json("find", "cve-1")["images"]
    assert {row["environment"] for row in rows} == {"dev", "prod"}
    for row in rows:
        (ignored,) = row["ignored_by_vex"]
        assert (ignored["finding"], ignored["package"], ignored["to"]) == ("CVE-1", "openssl", "prod")
        assert (ignored["status"], ignored["author"], ignored["referrer"]) == ("not_affected", "Ana", said.digest)
    assert [len(row["ignored_by_vex"]) for row in everywhere.json("find", "openssl")["images"]] == [1, 1]
    assert [row["ignored_by_vex"] for row in everywhere.json("find", "v1.0.0")["images"]] == [[], []]
    text = "CVE-1 is ignored for prod by VEX of Ana (key SHA256:"
    assert everywhere.run("find", "CVE-1").stdout.count(text) == 2
    assert Client(Application(Desk(everywhere.stack), None)).get("/find?q=CVE-1").text.count(text) == 2


def test_unsigned_and_other_statements_open_nothing_and_are_named(vex_stack: VexStack) -> None:
    vex_stack.says("not_affected", new_key())
    vex_stack.says("not_affected", digest=image("another").digest)
    vex_stack.system.push(referrer(vex_stack.app, "application/vnd.openvex+json", json.dumps({"statements": []})), None)
    verdict, reason = vex_stack.gate
    assert (verdict, vex_stack.went) == ("failed", False)
    assert "VEX that does not count: " in reason
    assert "by none of the keys" in reason


def test_a_later_statement_closes_the_gate_again_and_its_removal_opens_nothing(vex_stack: VexStack) -> None:
    vex_stack.says("not_affected")
    assert vex_stack.gate[0] == "passed"
    later = vex_stack.says("affected", minutes=1)
    assert vex_stack.gate[0] == "failed"
    (fact,) = [f for f in vex_stack.system.ledger.facts if f.kind is Kind.ORIGIN and later.digest in f.detail.values()]
    gone = replace(fact, kind=Kind.DELETED, id="gone", digest=later.digest, detail={"gone": True})
    vex_stack.system.ledger.append(replace(gone, at=vex_stack.system.clock()))
    assert vex_stack.gate[0] == "failed"


def test_a_statement_about_an_index_counts_for_its_platform_images(everywhere: FakeStack, tmp_path: Path) -> None:
    vex_stack = VexStack(everywhere, tmp_path, multi_arch())
    assert vex_stack.gate[0] == "failed"
    vex_stack.says("fixed")
    assert (vex_stack.gate[0], vex_stack.went) == ("passed", True)


def test_documents_verified_before_vex_support_are_read_again(vex_stack: VexStack) -> None:
    vex_stack.says("not_affected")
    facts = vex_stack.system.ledger.facts
    (fact,) = [f for f in facts if f.kind is Kind.ORIGIN]
    for key in ("vex", "rules"):
        del fact.detail[key]  # type: ignore[attr-defined]
    assert vex_stack.gate[0] == "failed"
    vex_stack.system.services.verify_origin.handle(
        json.dumps({"verify_origin": {"repository": str(DEV), "digest": vex_stack.app.digest}}), lambda: 60
    )
    assert vex_stack.gate[0] == "passed"
