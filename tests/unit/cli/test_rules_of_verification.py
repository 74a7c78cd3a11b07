"""Verdicts about signatures that another version of Tallyman made, by other rules: they are made once more."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.fakes.cli_stack import FakeStack
from support.fakes.origin import V1, Origin
from support.images import signing
from support.images.signing import PrivateKey, new_key
from tallyman.adapters.files.signatures import OriginSignatures
from tallyman.domain.images import signatures
from tallyman.domain.names import Digest
from tallyman.ports.signatures import CheckedSignature

UNVERIFIED = ("waiting", "1 signature not verified yet with the present keys, roots and rules")
UNKNOWN = "the bundle has an unknown version"


class Lax(OriginSignatures):
    """Earlier rules that accept every bundle."""

    def bundle(self, image: Digest, raw: bytes, keys: Mapping[str, str]) -> CheckedSignature:
        return CheckedSignature(keys=tuple(keys))


class Unaware(OriginSignatures):
    """Earlier rules that know no bundle."""

    def bundle(self, image: Digest, raw: bytes, keys: Mapping[str, str]) -> CheckedSignature:
        return CheckedSignature(reason=UNKNOWN)


@pytest.fixture
def origin(everywhere: FakeStack, tmp_path: Path) -> Origin:
    return Origin(everywhere, tmp_path)


def attach(origin: Origin, key: PrivateKey, earlier: type[OriginSignatures], patch: pytest.MonkeyPatch) -> None:
    """Attach a signature by this key, which the last release verifies: its verdicts name no rules."""
    present = origin.system.signatures
    with patch.context() as then:
        then.setattr(signatures, "RULES", None)
        origin.system.signatures = earlier(origin.folder)
        origin.by_bundle(signing.bundle(signing.envelope(key, signing.statement(origin.app.digest))))
    origin.system.signatures = present
    assert "rules" not in origin.facts[-1].detail


def reconcile(origin: Origin) -> int:
    """Take up what waits and what is released, as each run does; return how many verifications were requested."""
    services = origin.system.services
    problems: list[str] = []
    services.waiting.all(lambda waits: True, Counter(), problems, lambda: 60.0)
    _, todo = services.released.watched(lambda place: True, Counter(), problems, asked=False)
    services.released.carry_out(todo, problems, lambda: 60.0)
    assert problems == []
    requested = len(origin.system.hints.to("origin"))
    origin.system.work()
    return requested


def test_what_earlier_rules_refused_is_verified_again_once(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    attach(origin, key, Unaware, monkeypatch)
    assert (origin.gate[0], UNKNOWN in origin.gate[1]) == ("failed", True)
    assert reconcile(origin) == 1
    assert origin.gate[0] == "passed"
    assert origin.went()
    assert [fact.detail.get("rules") for fact in origin.facts] == [None, signatures.RULES]
    assert origin.ask() == "0 signatures verified, 0 checks asked for"


def test_what_the_present_rules_refuse_too_is_no_news_and_not_asked_again(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    attach(origin, key, Unaware, monkeypatch)
    refused, notices = origin.gate, list(origin.system.notices.published)
    origin.system.signatures = Unaware(origin.folder)
    assert reconcile(origin) == 1
    origin.system.clock.advance(seconds=7200)
    assert reconcile(origin) == 0
    assert (origin.gate, origin.system.notices.published) == (refused, notices)


def test_an_acceptance_by_earlier_rules_promotes_nothing(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    attach(origin, key, Lax, monkeypatch)
    assert (origin.gate, origin.went()) == (UNVERIFIED, False)
    assert reconcile(origin) == 1
    assert origin.gate[0] == "passed"
    assert origin.went()


def test_an_acceptance_that_the_present_rules_do_not_share_no_longer_counts(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.asks({"keys": [signing.pem(new_key())]})
    attach(origin, new_key(), Lax, monkeypatch)
    assert origin.gate == UNVERIFIED
    reconcile(origin)
    assert (origin.gate[0], "by none of the keys" in origin.gate[1]) == ("failed", True)
    assert not origin.went()


@pytest.mark.parametrize("forged", [False, True])
def test_a_promoted_image_keeps_its_verdict_until_it_is_verified_again(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, forged: bool
) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    with monkeypatch.context() as then:
        then.setattr("tallyman.domain.history.details.referrers.RULES", None)
        attach(origin, new_key() if forged else key, Lax, monkeypatch)
        assert origin.went()
    notices = list(origin.system.notices.published)
    origin.system.services.evaluator.digest(origin.app.digest)
    assert origin.gate[0] == "passed"
    assert origin.system.notices.published == notices
    assert reconcile(origin) == 1
    assert origin.gate[0] == ("failed" if forged else "passed")
    assert len(origin.system.notices.published) == len(notices) + forged
    origin.system.clock.advance(seconds=7200)
    assert reconcile(origin) == 0


def test_the_past_is_judged_by_the_rules_of_then(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    origin.asks({"keys": [signing.pem(new_key())]})
    attach(origin, new_key(), Lax, monkeypatch)
    origin.system.clock.advance(seconds=60)
    then = origin.system.clock()
    origin.system.clock.advance(seconds=60)
    reconcile(origin)
    found = [
        gate["verdict"]
        for at in (then, origin.system.clock())
        for gate in origin.system.json("why", V1, "--to", "prod", "--at", at.isoformat(), status=1)["gates"]
        if gate["name"] == "signed"
    ]
    assert found == ["passed", "failed"]
