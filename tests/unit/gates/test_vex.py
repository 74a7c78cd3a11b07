"""The gate `scan` with `vex`: which statements ignore a finding, which don't, and which revoke earlier ones."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.gate_cases import APP, LATER, case_of, image_of, judged
from support.images import signing
from support.images.builders import DEV, NOON, digest_of, fact, scanned
from tallyman.domain.gates import FAILED, PASSED, GateResult
from tallyman.domain.gates.signers import SignerKey
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.purls import Package, Purl
from tallyman.domain.images.signatures import RULES
from tallyman.domain.images.vex import MOST, Vex, VexStatement, is_vex, vex
from tallyman.domain.plain import plain
from tallyman.domain.times import format_time

MINE = signing.pem(signing.new_key())
NAME = SignerKey.parse(MINE).name
CVE = "CVE-2026-1"
OPENVEX, CYCLONEDX = "https://openvex.dev/ns/v0.2.0", "https://cyclonedx.org/bom"
IMAGE = f"pkg:oci/widget-server@{APP}".replace(":", "%3A").replace("pkg%3A", "pkg:")
OPENSSL = ["openssl", "3.0.1-1", "OS"]
GATES: Mapping[str, Any] = {"scan": {"max": {"critical": 0}, "vex": {"keys": [MINE]}}}
TIME = format_time(NOON)


def said(**more: Any) -> dict[str, Any]:
    """A statement of OpenVEX that ignores a finding; None removes a key."""
    found = {
        "vulnerability": {"name": CVE},
        "products": [{"@id": IMAGE}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
        **more,
    }
    return {key: value for key, value in found.items() if value is not None}


def openvex(*statements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"@context": OPENVEX, "author": "Ana", "timestamp": TIME, "statements": list(statements), **more}


def bom(analysis: dict[str, Any], **more: Any) -> dict[str, Any]:
    vulnerability = {"id": CVE, "analysis": analysis, "affects": [{"ref": "image"}], **more.pop("vulnerability", {})}
    top = {"bom-ref": "image", "purl": IMAGE}
    metadata = {"timestamp": TIME, "component": top, "authors": [{"name": "Ana"}]}
    return {"bomFormat": "CycloneDX", "metadata": metadata, "vulnerabilities": [vulnerability], **more}


def vex_fact(document: dict[str, Any], number: int = 1, kind: str = OPENVEX, **more: Any) -> Fact:
    """The fact of a verified document."""
    found = vex(kind, document, APP)
    assert found is not None
    details = Origin(
        repository=str(more.pop("repository", DEV)),
        referrer=str(digest_of(f"vex {number}")),
        signature=str(number),
        form="bundle",
        verdict=more.pop("verdict", "verified"),
        keys=more.pop("keys", [NAME]),
        statement=kind,
        vex=plain(found),
        reason=more.pop("reason", None),
        looked=[NAME],
        rules=more.pop("rules", RULES),
    )
    return replace(fact(Kind.ORIGIN, APP), id=f"vex {number}", detail=details.dump())


FINDING: dict[str, Any] = {"id": CVE, "severity": "critical", "package": "openssl", "installed": [OPENSSL]}


def asked(*facts: Fact, row: Mapping[str, Any] | None = None, **more: Any) -> GateResult:
    rows = [row or FINDING]
    scan = scanned(APP, {"critical": 1}, findings=rows, at=NOON)
    return judged("scan", case_of(scan, *facts, gates=GATES, **more))


def test_a_statement_ignores_the_finding_and_names_its_signer_and_reason() -> None:
    assert asked().verdict == FAILED
    result = asked(vex_fact(openvex(said(impact_statement="it is never called"))))
    assert result.verdict == PASSED
    because = "vulnerable_code_not_in_execute_path: it is never called"
    assert f"1 ignored by VEX of Ana (key {NAME[:19]}): {because}" in result.reason
    (ignored,) = result.facts["vex"]["ignored"]
    assert ignored == {
        "id": CVE, "package": "openssl", "status": "not_affected", "because": because, "at": TIME,
        "by": f"key {NAME[:19]}", "author": "Ana", "referrer": digest_of("vex 1"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    [
        said(products=None),  # the attestation's subjects are the products
        said(products=[]),
        said(products=[IMAGE]),  # OpenVEX 0.0
        said(vulnerability=CVE),
        said(vulnerability={"name": "GHSA-1", "aliases": [CVE]}),
        said(products=[{"@id": "https://example.com/widget", "hashes": {"sha-256": APP.hex}}]),
        said(products=[{"@id": "https://example.com/widget", "identifiers": {"purl": IMAGE}}]),
        said(products=[{"@id": f"pkg:oci/other@{digest_of('x')}"}, {"@id": IMAGE}]),
        said(products=[{"@id": IMAGE, "subcomponents": [{"@id": "pkg:deb/debian/openssl"}]}]),
        said(products=[{"@id": IMAGE, "subcomponents": [{"@id": "pkg:deb/debian/openssl@3.0.1-1?arch=amd64"}]}]),
        said(justification=None, impact_statement="not called"),
        said(status="fixed", justification=None),
        said(timestamp="2026-11-16T11:59:59.123456789+00:00"),
    ],
)
def test_certain_openvex_statements_about_this_image_ignore(statement: dict[str, Any]) -> None:
    assert asked(vex_fact(openvex(statement))).verdict == PASSED


@pytest.mark.parametrize(
    "document",
    [
        openvex(said(status="under_investigation")),
        openvex(said(status="affected")),
        openvex(said(status="Not_Affected")),
        openvex(said(justification=None)),
        openvex(said(justification="because")),
        openvex(said(vulnerability={"name": "CVE-2026-2"})),
        openvex(said(vulnerability={"name": CVE.lower()})),
        openvex(said(vulnerability=None)),
        openvex(said(products=[{"@id": f"pkg:oci/widget-server@{digest_of('x')}"}])),
        openvex(said(products=[{"@id": "pkg:oci/widget-server"}])),
        openvex(said(products=[{"@id": "pkg:deb/debian/openssl@3.0.1-1"}])),
        openvex(said(products=[{"@id": IMAGE, "hashes": {"sha-256": digest_of("x").hex}}])),
        openvex(said(products=[{"@id": IMAGE, "identifiers": {"purl": f"pkg:oci/x@{digest_of('x')}"}}])),
        openvex(said(products=[{"@id": IMAGE, "subcomponents": [{"@id": "pkg:deb/debian/zlib"}]}])),
        openvex(said(products=[{"@id": IMAGE, "subcomponents": [{"@id": "pkg:npm/openssl"}]}])),
        openvex(said(products=[{"@id": IMAGE, "subcomponents": [{"@id": "pkg:deb/debian/openssl@3.0.2-1"}]}])),
        openvex(said(products=[{"@id": IMAGE, "subcomponents": [{"@id": "openssl"}]}])),
        openvex(said(products=[{"@id": IMAGE, "subcomponents": "openssl"}])),
        openvex(said(products="all")),
        openvex(said(), timestamp=None),
        openvex(said(), timestamp="2026-11-16"),
        openvex(said(), timestamp=format_time(LATER + timedelta(seconds=1))),
        openvex(*[said()] * (MOST + 1)),
        openvex(),
        {},
        {"statements": [5, None, {"vulnerability": 5, "products": [[]], "status": []}]},
    ],
)
def test_uncertain_foreign_or_affected_statements_ignore_nothing(document: dict[str, Any]) -> None:
    assert asked(vex_fact(document)).verdict == FAILED


NOT_AFFECTED = {"state": "not_affected", "justification": "code_not_reachable", "detail": "not called"}
PART = {"components": [{"bom-ref": "p", "purl": "pkg:deb/debian/openssl@3.0.1-1"}]}


@pytest.mark.parametrize(
    ("document", "verdict"),
    [
        (bom(NOT_AFFECTED), PASSED),
        (bom({"state": "resolved"}), PASSED),
        (bom({"state": "false_positive", "detail": "another openssl"}), PASSED),
        (bom({"state": "false_positive"}), FAILED),
        (bom({"state": "not_affected"}), FAILED),
        (bom({"state": "exploitable"}), FAILED),
        (bom({"state": "in_triage"}), FAILED),
        (bom({"state": "new in 2.0", "detail": "x"}), FAILED),
        (bom({}), FAILED),
        (bom(NOT_AFFECTED, vulnerability={"affects": [{"ref": "p"}]}, **PART), PASSED),
        (bom(NOT_AFFECTED, vulnerability={"affects": [{"ref": IMAGE}]}), PASSED),
        (bom(NOT_AFFECTED, vulnerability={"affects": [{"ref": "q"}]}, **PART), FAILED),
        (bom(NOT_AFFECTED, vulnerability={"affects": [{"ref": "urn:cdx:1/1#image"}]}), FAILED),
        (bom(NOT_AFFECTED, vulnerability={"affects": []}), FAILED),
        (bom(NOT_AFFECTED, vulnerability={"affects": [{"ref": "image", "versions": [{"version": "1"}]}]}), FAILED),
        (bom(NOT_AFFECTED, metadata={"timestamp": TIME, "component": {"bom-ref": "image"}}), FAILED),
        (bom(NOT_AFFECTED, vulnerability={"id": "GHSA-1", "references": [{"id": CVE}]}), PASSED),
    ],
)
def test_cyclonedx_statements_count_by_state_and_affected_component(document: dict[str, Any], verdict: str) -> None:
    assert asked(vex_fact(document, kind=CYCLONEDX)).verdict == verdict


def test_a_later_statement_supersedes_an_earlier_one_also_after_it_was_removed() -> None:
    old, new = openvex(said()), openvex(said(status="affected"), timestamp=format_time(NOON + timedelta(minutes=1)))
    for facts in (
        (vex_fact(old), vex_fact(new, 2)),
        (vex_fact(new, 1), vex_fact(old, 2)),
        (vex_fact(old), vex_fact(new, 2, repository="x")),
    ):
        assert asked(*facts).verdict == FAILED
    gone = replace(image_of(scanned(APP, {"critical": 1}, findings=[{"id": CVE, "severity": "critical"}], at=NOON)))
    gone = replace(
        gone, facts=(*gone.facts, vex_fact(old), vex_fact(new, 2)), gone=frozenset({(str(DEV), digest_of("vex 2"))})
    )
    assert judged("scan", case_of(image=gone, gates=GATES)).verdict == FAILED
    again = openvex(said(), timestamp=format_time(NOON + timedelta(minutes=2)))
    assert asked(vex_fact(old), vex_fact(new, 2), vex_fact(again, 3)).verdict == PASSED
    same = openvex(said(status="under_investigation"))
    assert asked(vex_fact(old), vex_fact(same, 2)).verdict == FAILED  # of two with the same time


def test_a_detached_statement_ignores_nothing() -> None:
    image = image_of(scanned(APP, {"critical": 1}, findings=[{"id": CVE, "severity": "critical"}], at=NOON))
    image = replace(image, facts=(*image.facts, vex_fact(openvex(said()))))
    assert judged("scan", case_of(image=image, gates=GATES)).verdict == PASSED
    removed = replace(image, gone=frozenset({(str(DEV), digest_of("vex 1"))}))
    assert judged("scan", case_of(image=removed, gates=GATES)).verdict == FAILED
    assert asked(vex_fact(openvex(said()), repository="x")).verdict == FAILED


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"verdict": "refused", "keys": [], "reason": "it is signed by none of the keys"}, "by none of the keys"),
        ({"keys": ["SHA256:other"]}, "somebody whom the policy does not name"),
    ],
)
def test_a_statement_without_a_signer_of_the_policy_ignores_nothing_and_is_named(
    more: dict[str, Any], why: str
) -> None:
    result = asked(vex_fact(openvex(said()), **more))
    assert result.verdict == FAILED
    assert why in result.reason


def test_every_package_of_a_finding_must_be_ignored() -> None:
    names = ["openssl", "libssl3"]
    row: dict[str, Any] = {"id": CVE, "severity": "critical", "package": "openssl", "packages": names}
    row["installed"] = [OPENSSL, ["libssl3", "3.0.1-1", "OS"]]
    parts = [{"@id": f"pkg:deb/debian/{name}@3.0.1-1"} for name in ("openssl", "libssl3")]
    one, both = ({"@id": IMAGE, "subcomponents": parts[:n]} for n in (1, 2))
    assert asked(vex_fact(openvex(said(products=[one]))), row=row).verdict == FAILED
    assert asked(vex_fact(openvex(said(products=[both]))), row=row).verdict == PASSED


def test_a_future_statement_counts_from_its_time_on() -> None:
    begins = LATER + timedelta(hours=1)
    fact = vex_fact(openvex(said(), timestamp=format_time(begins)))
    assert (asked(fact).verdict, asked(fact).until) == (FAILED, begins)
    assert asked(fact, now=begins).verdict == PASSED


def test_the_facts_of_a_document_are_bounded() -> None:
    products = [{"@id": f"{IMAGE}?arch=a{n}", "subcomponents": [f"pkg:npm/{'x' * 400}{m}" for m in range(50)]}
                for n in range(50)]  # fmt: skip
    found = vex(OPENVEX, openvex(*[said(products=products, vulnerability=f"CVE-{n}") for n in range(3)]), APP)
    assert found is not None
    assert found.flaw == "its statements are too long or too many"
    assert len(json.dumps(plain(found))) < 1000
    long = vex(OPENVEX, openvex(said(impact_statement="x" * 10_000), author="y" * 10_000), APP)
    assert long is not None
    assert len(json.dumps(plain(long))) < 3000


def test_a_fact_keeps_a_statement_unchanged_and_an_sbom_has_no_statements() -> None:
    found = vex(OPENVEX, openvex(said(), said(status="affected", timestamp="x")), APP)
    assert found is not None
    kept = json.loads(json.dumps(plain(found)))["statements"]
    assert tuple(map(VexStatement.from_json, kept)) == found.statements
    assert vex(CYCLONEDX, {"bomFormat": "CycloneDX", "components": []}, APP) == Vex()
    assert vex("https://slsa.dev/provenance/v1", {}, APP) is None
    assert [is_vex(kind) for kind in ("https://openvex.dev/nsx", None, "https://cyclonedx.org/bom/v1.5")] == [
        False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("pkg:npm/%40angular/core@16.0.0", Package("@angular/core", "16.0.0", "NPM")),
        ("pkg:golang/github.com/foo/bar@v1.2.3#sub", Package("github.com/foo/bar", "v1.2.3", "GOBINARY")),
        ("pkg:maven/org.apache.commons/io@1.0", Package("org.apache.commons:io", "1.0", "JAR")),
        ("pkg:pypi/Foo_Bar@1", Package("foo-bar", "1", "PIP")),
        ("pkg:rpm/fedora/curl@7.50.3-1.fc25?epoch=1", Package("curl", "1:7.50.3-1.fc25", "OS")),
        ("pkg:deb/debian/g%2B%2B@4%2B1", Package("g++", "4+1", "OS")),
    ],
)
def test_a_purl_names_the_package_as_scanners_do(text: str, package: Package) -> None:
    purl = Purl.parse(text)
    assert purl is not None
    assert purl.names(package)
    assert not purl.names(replace(package, manager=None))
    assert purl.may_name(replace(package, manager=None, version=None))


@pytest.mark.parametrize("text", ["", "pkg:", "pkg:npm", "pkg:npm/", "npm/x", "pkg:npm/" + "x" * 1000])
def test_invalid_purls_are_none(text: str) -> None:
    assert Purl.parse(text) is None


@pytest.mark.parametrize("promoted", [False, True])
def test_a_statement_verified_by_earlier_rules_promotes_nothing_and_is_verified_again(promoted: bool) -> None:
    earlier = vex_fact(openvex(said()), rules=None)
    scan = scanned(APP, {"critical": 1}, findings=[FINDING], at=NOON)
    case = replace(case_of(scan, earlier, gates=GATES), promoted_at=NOON if promoted else None)
    result = judged("scan", case)
    name = digest_of("vex 1")
    assert result.verdict == (PASSED if promoted else FAILED)
    assert result.facts["vex"]["outdated"] == [name]
    assert result.facts["vex"]["not_looked_at"] == ([] if promoted else [name])
    again = replace(vex_fact(openvex(said(status="affected"))), id="again", seen=LATER)
    result = judged("scan", replace(case, image=image_of(scan, earlier, again)))
    assert (result.verdict, "outdated" in result.facts["vex"]) == (FAILED, False)
