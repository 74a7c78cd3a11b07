"""Timestamps of RFC 3161 by openssl, in Sigstore's bundles and in Notation's envelopes, and forged ones."""

import base64
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.images import notary, signing
from support.images.notary import COSE, JWS, Issuer, Signing, signer
from support.images.signing import Sigstore, b64, new_key
from tallyman_origin import NotValid, Signature, Stores, Target, Trust, verify_bundle, verify_notation
from tallyman_origin.keys import from_pem
from tallyman_origin.roots import Roots

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
IMAGE = f"sha256:{'a' * 64}"
CONFIG = """
[tsa]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


def soon() -> tuple[datetime, datetime]:
    now = datetime.now(UTC).replace(microsecond=0)
    return now - timedelta(hours=1), now + timedelta(hours=1)


class Tsa:
    """A timestamp authority; `bent`: the altered parts of its certificate."""

    def __init__(self, folder: Path, root: Issuer | None = None, **bent: Any) -> None:
        self.folder = folder
        self.root = root or Issuer("stamps", valid=soon())
        given = {"ca": False, "uses": ("digital_signature",), "usages": (ExtendedKeyUsageOID.TIME_STAMPING,)}
        self.own = Issuer("stamper", self.root, valid=soon(), **{**given, **bent})
        (folder / "own.pem").write_bytes(self.own.pem)
        (folder / "chain.pem").write_bytes(self.own.pem + self.root.pem)
        (folder / "key.pem").write_bytes(signing.private_pem(self.own.key))
        (folder / "config").write_text(CONFIG.format(folder=folder))
        (folder / "serial").write_text("01")

    def stamp(self, signature: bytes, *options: str, certificates: bool = True) -> bytes:
        """The authority's response; with `-token_out` only its token. `certificates`: whether it holds them."""
        (self.folder / "data").write_bytes(signature)
        query = [
            "openssl",
            "ts",
            "-query",
            "-data",
            "data",
            "-sha256",
            "-out",
            "query",
            *(["-cert"] if certificates else []),
        ]
        reply = ["openssl", "ts", "-reply", "-queryfile", "query", "-config", "config", "-section", "tsa"]
        reply += ["-signer", "own.pem", "-inkey", "key.pem", "-chain", "chain.pem", "-out", "reply", *options]
        for command in (query, reply):
            subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        return (self.folder / "reply").read_bytes()

    def token(self, signature: bytes) -> bytes:
        return self.stamp(signature, "-token_out")


def entry(*chain: Issuer, **more: Any) -> dict[str, Any]:
    """Its entry of `timestampAuthorities` in trusted_root.json."""
    since = {"validFor": {"start": "2020-01-01T00:00:00Z"}, **more}
    return {"uri": "x", "certChain": {"certificates": [{"rawBytes": b64(each.der)} for each in chain]}, **since}


class Bundle:
    """A keyless signature whose certificate is valid now, and which no log contains."""

    def __init__(self) -> None:
        self.sigstore, self.key = Sigstore(), new_key()
        self.dsse = signing.envelope(self.key, signing.statement(IMAGE))
        self.leaf = self.sigstore.between.leaf(self.key, valid=soon())
        self.signature = base64.b64decode(self.dsse["signatures"][0]["sig"])

    def verified(self, *stamps: bytes, entries: tuple[dict[str, Any], ...] = (), **roots: Any) -> Signature:
        data = {"rfc3161Timestamps": [{"signedTimestamp": b64(each)} for each in stamps]}
        made = signing.bundle(
            self.dsse,
            certificate={"rawBytes": signing.der(self.leaf)},
            tlogEntries=list(entries),
            timestampVerificationData=data,
        )
        trusted = {**self.sigstore.roots, "tlogs": [], **roots}
        return verify_bundle(IMAGE, signing.raw(made), Trust({}, Roots.parse(signing.raw(trusted))))


def test_a_timestamp_proves_the_time_of_a_bundle_without_a_log(tmp_path: Path) -> None:
    bundle, tsa = Bundle(), Tsa(tmp_path)
    stamp = tsa.stamp(bundle.signature)
    found = bundle.verified(stamp, timestampAuthorities=[entry(tsa.own, tsa.root)])
    assert found.identity is not None
    assert found.at is not None
    assert abs(found.at - datetime.now(UTC)) < timedelta(minutes=5)
    assert bundle.verified(stamp, timestampAuthorities=[entry(Issuer()), entry(tsa.root)]).at == found.at


def test_where_a_log_is_trusted_a_timestamp_does_not_replace_it(tmp_path: Path) -> None:
    bundle, tsa = Bundle(), Tsa(tmp_path)
    trusted = {"timestampAuthorities": [entry(tsa.own, tsa.root)], "tlogs": bundle.sigstore.roots["tlogs"]}
    with pytest.raises(NotValid, match="no log entry proves the time"):
        bundle.verified(tsa.stamp(bundle.signature), **trusted)
    logged = bundle.sigstore.log.entry(bundle.dsse, bundle.leaf, datetime.now(UTC).replace(microsecond=0), True)
    unpromised = {key: value for key, value in logged.items() if key != "inclusionPromise"}
    with pytest.raises(NotValid, match="has signed the time"):
        bundle.verified(entries=(unpromised,), **trusted)
    assert bundle.verified(tsa.stamp(bundle.signature), entries=(unpromised,), **trusted).at is not None


@pytest.mark.parametrize("constraints", [True, False])
def test_a_timestamp_without_certificates_is_of_the_authority_in_the_trust_roots(
    tmp_path: Path, constraints: bool
) -> None:
    bundle, tsa = Bundle(), Tsa(tmp_path, constraints=constraints)  # Sigstore's authority has no basic constraints
    stamp = tsa.stamp(bundle.signature, certificates=False)
    assert bundle.verified(stamp, timestampAuthorities=[entry(tsa.own, tsa.root)]).at is not None
    with pytest.raises(NotValid, match="is not valid"):
        bundle.verified(stamp, timestampAuthorities=[entry(tsa.root)])


def test_an_entry_of_the_second_rekor_counts_with_a_timestamp(tmp_path: Path) -> None:
    bundle, tsa = Bundle(), Tsa(tmp_path)
    log, stamp = bundle.sigstore.log, tsa.stamp(bundle.signature)
    trusted = {"timestampAuthorities": [entry(tsa.own, tsa.root)], "tlogs": bundle.sigstore.roots["tlogs"]}
    logged = log.entry_of_rekor_2(bundle.dsse, bundle.leaf)
    found = bundle.verified(stamp, entries=(logged,), **trusted)
    assert found.identity is not None
    assert found.at is not None
    with pytest.raises(NotValid, match="has signed the time"):
        bundle.verified(entries=(logged,), **trusted)
    other = Bundle()
    digest = {"algorithm": "SHA2_256", "digest": b64(b"\0" * 32)}
    for entries, why in (
        (log.entry_of_rekor_2(bundle.dsse, bundle.leaf, data=digest), "of another signature"),
        (log.entry_of_rekor_2(other.dsse, bundle.leaf), "of another signature"),
        (log.entry_of_rekor_2(bundle.dsse, other.leaf), "of another signer"),
        (log.entry_of_rekor_2(bundle.dsse, bundle.key), "the log entry's key is missing"),
        ({**logged, "inclusionProof": {}}, "neither a proof"),
        ({**logged, "inclusionProof": log.proof(b"another")}, "proof of inclusion is wrong"),
        (other.sigstore.log.entry_of_rekor_2(bundle.dsse, bundle.leaf), "of a log that is not trusted"),
    ):
        with pytest.raises(NotValid, match=why):
            bundle.verified(stamp, entries=(entries,), **trusted)


def test_an_envelope_in_the_second_rekor_counts_with_a_timestamp(tmp_path: Path) -> None:
    bundle, other, tsa = Bundle(), Bundle(), Tsa(tmp_path)
    log, stamp = bundle.sigstore.log, tsa.stamp(bundle.signature)
    trusted = {"timestampAuthorities": [entry(tsa.own, tsa.root)], "tlogs": bundle.sigstore.roots["tlogs"]}
    logged = log.envelope_of_rekor_2(bundle.dsse, bundle.leaf)
    assert bundle.verified(stamp, entries=(logged,), **trusted).identity is not None
    digest = {"algorithm": "SHA2_256", "digest": b64(b"\0" * 32)}
    for entries, why in (
        (log.envelope_of_rekor_2(bundle.dsse, bundle.leaf, payloadHash=digest), "of another signature"),
        (log.envelope_of_rekor_2(bundle.dsse, bundle.leaf, signatures=[]), "the log entry's signature is missing"),
        (log.envelope_of_rekor_2(other.dsse, bundle.leaf), "of another signature"),
        (log.envelope_of_rekor_2(bundle.dsse, other.leaf), "of another signer"),
        (log.envelope_of_rekor_2(bundle.dsse, bundle.key), "the log entry's key is missing"),
    ):
        with pytest.raises(NotValid, match=why):
            bundle.verified(stamp, entries=(entries,), **trusted)


def test_a_log_counts_only_while_it_is_trusted(tmp_path: Path) -> None:
    bundle, tsa = Bundle(), Tsa(tmp_path)
    (log,) = bundle.sigstore.roots["tlogs"]
    logged = bundle.sigstore.log.entry_of_rekor_2(bundle.dsse, bundle.leaf)
    over = {"validFor": {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}}
    trusted = {
        "timestampAuthorities": [entry(tsa.own, tsa.root)],
        "tlogs": [{**log, "publicKey": {**log["publicKey"], **over}}],
    }
    with pytest.raises(NotValid, match="the log was not trusted at the time"):
        bundle.verified(tsa.stamp(bundle.signature), entries=(logged,), **trusted)
    with pytest.raises(ValueError, match="since when it is trusted"):
        Roots.parse(signing.raw({"tlogs": [{**log, "publicKey": {**log["publicKey"], "validFor": {}}}]}))


def test_an_entry_of_the_second_rekor_names_the_key_of_a_signature_by_key() -> None:
    bundle = Bundle()
    trust = Trust({"mine": from_pem(signing.pem(bundle.key))}, Roots.parse(signing.raw(bundle.sigstore.roots)))
    logged = bundle.sigstore.log.entry_of_rekor_2(bundle.dsse, bundle.key)
    made = signing.bundle(bundle.dsse, publicKey={"hint": ""}, tlogEntries=[logged])
    assert verify_bundle(IMAGE, signing.raw(made), trust).keys == ("mine",)
    made = signing.bundle(
        bundle.dsse,
        publicKey={"hint": ""},
        tlogEntries=[bundle.sigstore.log.entry_of_rekor_2(bundle.dsse, new_key())],
    )
    with pytest.raises(NotValid, match="of another signer"):
        verify_bundle(IMAGE, signing.raw(made), trust)


def test_invalid_timestamps_prove_nothing(tmp_path: Path) -> None:
    bundle, tsa = Bundle(), Tsa(tmp_path)
    good, trusted = tsa.stamp(bundle.signature), entry(tsa.own, tsa.root)
    over: dict[str, Any] = {"validFor": {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}}
    for stamps, authorities, why in (
        ((good,), [], "nor a trusted timestamp authority"),
        ((), [trusted], "no log entry"),
        ((good,), [entry(Issuer(valid=soon()))], "is not valid"),
        ((good,), [entry(tsa.own, tsa.root, **over)], "was not trusted at that time"),
        ((tsa.stamp(b"another"),), [trusted], "Mismatch"),
        ((good, tsa.stamp(b"another")), [trusted], "Mismatch"),
        ((good[:-1],), [trusted], "can't be read"),
        ((b"",), [trusted], "can't be read"),
        ((good,) * 5, [trusted], "too many timestamps"),
    ):
        with pytest.raises(NotValid, match=why):
            bundle.verified(*stamps, timestampAuthorities=authorities)


FORGED: dict[str, Callable[[Issuer], dict[str, Any]]] = {
    "issued by a signer": lambda root: {"root": signer(root, common="evil", valid=soon())},
    "of another root of that name": lambda root: {"root": Issuer("stamps", valid=soon())},
}


@pytest.mark.parametrize("forged", FORGED)
def test_an_untrusted_timestamp_authority_does_not_count(tmp_path: Path, forged: str) -> None:
    bundle, root = Bundle(), Issuer("stamps", valid=soon())
    evil = Tsa(tmp_path, **FORGED[forged](root))
    with pytest.raises(NotValid, match="is not valid"):
        bundle.verified(evil.stamp(bundle.signature), timestampAuthorities=[entry(root)])


def test_a_certificate_expired_at_the_timestamp_does_not_count(tmp_path: Path) -> None:
    bundle, tsa = Bundle(), Tsa(tmp_path)
    stamp, trusted = tsa.stamp(bundle.signature), [entry(tsa.root)]
    start, end = soon()
    day = timedelta(days=1)
    for valid, why in (((start - day, end - day), "had expired"), ((start + day, end + day), "was not valid yet")):
        bundle.leaf = bundle.sigstore.between.leaf(bundle.key, valid=valid)
        with pytest.raises(NotValid, match=why):
            bundle.verified(stamp, timestampAuthorities=trusted)


@pytest.mark.parametrize("kind", [JWS, COSE])
def test_a_timestamp_outlives_the_certificate_of_notations_signer(tmp_path: Path, kind: str) -> None:
    tsa, root = Tsa(tmp_path, key=rsa.generate_private_key(65537, 2048)), Issuer(valid=soon())
    by = signer(root, valid=soon())
    raw = Signing(IMAGE, by, (root,), stamp=tsa.token).envelope(kind)
    target, late = Target(IMAGE, notary.MEDIA_TYPE, 528), datetime.now(UTC) + timedelta(days=400)
    found = verify_notation(target, kind, raw, Stores((root.certificate,), (), (tsa.root.certificate,)), late)
    assert found.at is not None
    assert found.until is None
    for stores, why in (
        (Stores((root.certificate,)), "had expired"),
        (Stores((root.certificate,), (), (root.certificate,)), "the timestamp is not valid"),
    ):
        with pytest.raises(NotValid, match=why):
            verify_notation(target, kind, raw, stores, late)
