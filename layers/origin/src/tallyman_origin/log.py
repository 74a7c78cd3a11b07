"""Check that a transparency log (Rekor) contains a signature, and since when. RFC 6962, C2SP's signed notes."""

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509

from tallyman_origin import keys
from tallyman_origin.documents import Json, decoded, items, mapping, parse, part, whole
from tallyman_origin.result import NotValid
from tallyman_origin.roots import Log, Roots


class Entry:
    """One log entry, in the form of bundles. Raises NotValid where it is incomplete."""

    def __init__(self, entry: Json) -> None:
        self._entry = entry
        self.log = decoded(part(entry, "logId").get("keyId"), "the log's id")
        self.raw = decoded(entry.get("canonicalizedBody"), "the log entry's body")
        self.index = whole(entry.get("logIndex", 0), "the log entry's index")
        self.integrated = whole(entry.get("integratedTime", 0), "the log entry's time")
        self.promise = part(entry, "inclusionPromise").get("signedEntryTimestamp")
        self.proof = part(entry, "inclusionProof")

    def check(self, roots: Roots) -> datetime | None:
        """When the log added the entry; None where the log has not signed the time. Raises NotValid where a proof is
        wrong or there is none."""
        log = roots.logs.get(self.log)
        if log is None:
            raise NotValid("the log entry is of a log that is not trusted")
        if not self.proof and self.promise is None:
            raise NotValid("the log entry has neither a proof of inclusion nor a promise")
        if self.proof:
            self._check_inclusion(log)
        if self.promise is None:
            return None
        self._check_promise(log)
        at = datetime.fromtimestamp(self.integrated, UTC)
        self.check_trusted(roots, at)
        return at

    def check_trusted(self, roots: Roots, at: datetime) -> None:
        """Raises NotValid unless the log was trusted at the time of the entry."""
        if not roots.logs[self.log].trusted.holds(at):
            raise NotValid("the log was not trusted at the time of the entry")

    def check_body(
        self, signature: bytes, signed: bytes, payload: bytes | None, by: keys.PublicKey | x509.Certificate
    ) -> None:
        """Raise NotValid unless the entry is for this signature of these bytes by this key or certificate.

        `signed`: the SHA-256 of the signed bytes. `payload`: the payload of a DSSE envelope.
        """
        body = parse(self.raw, "the log entry's body")
        spec, kind = part(body, "spec"), (body.get("kind"), body.get("apiVersion"))
        if kind == ("hashedrekord", "0.0.1"):
            given = part(spec, "signature")
            hashed = part(spec, "data", "hash")
            same = hashed.get("algorithm") == "sha256" and hashed.get("value") == signed.hex()
            verifier = part(given, "publicKey").get("content")
            found = decoded(given.get("content"), "the log entry's signature")
        elif kind[1] == "0.0.2" and (second := _of_rekor_2(kind[0], spec, signed, payload)) is not None:
            given, hashed, digest = second
            same = hashed.get("algorithm") == "SHA2_256" and hashed.get("digest") == digest
            holder = "x509Certificate" if isinstance(by, x509.Certificate) else "publicKey"
            verifier = part(given, "verifier", holder).get("rawBytes")
            found = decoded(given.get("content"), "the log entry's signature")
        elif kind == ("dsse", "0.0.1") and payload is not None:
            hashed = part(spec, "payloadHash")
            digest = hashlib.sha256(payload).hexdigest()
            same = hashed.get("algorithm") == "sha256" and hashed.get("value") == digest
            signatures = items(spec, "signatures")
            given = mapping(signatures[0]) if len(signatures) == 1 else {}
            verifier = given.get("verifier")
            found = decoded(given.get("signature"), "the log entry's signature")
        else:
            raise NotValid(f"the log entry has an unknown kind ({str(kind[0])[:50]} {str(kind[1])[:50]})")
        if not same or found != signature:
            raise NotValid("the log entry is of another signature")
        if not _is_by(decoded(verifier, "the log entry's key"), by):
            raise NotValid("the log entry is of another signer")

    def _check_promise(self, log: Log) -> None:
        promised = {
            "body": base64.b64encode(self.raw).decode(),
            "integratedTime": self.integrated,
            "logID": self.log.hex(),
            "logIndex": self.index,
        }
        data = json.dumps(promised, sort_keys=True, separators=(",", ":")).encode()
        if not keys.is_signed(log.key, decoded(self.promise, "the log's promise"), data):
            raise NotValid("the log's promise is not signed by the log")

    def _check_inclusion(self, log: Log) -> None:
        size = whole(self.proof.get("treeSize"), "the size of the log")
        index = whole(self.proof.get("logIndex", 0), "the index in the log")
        nodes = [decoded(each, "a hash of the proof") for each in items(self.proof, "hashes")]
        root = _root(hashlib.sha256(b"\x00" + self.raw).digest(), index, size, nodes)
        if root != decoded(self.proof.get("rootHash"), "the log's root hash"):
            raise NotValid("the log entry's proof of inclusion is wrong")
        _check_note(part(self.proof, "checkpoint").get("envelope"), size, root, log)


def _of_rekor_2(kind: object, spec: Json, signed: bytes, payload: bytes | None) -> tuple[Json, Json, str] | None:
    """The signature and the hash in an entry of the second Rekor, and the hash in base64 that it must have; None: the
    entry is of another kind. It stores certificates and keys in DER. An envelope is logged as such or as its bytes."""
    if kind == "hashedrekord":
        spec = part(spec, "hashedRekordV002")
        return part(spec, "signature"), part(spec, "data"), base64.b64encode(signed).decode()
    if kind != "dsse" or payload is None:
        return None
    spec = part(spec, "dsseV002")
    given = items(spec, "signatures")
    one = mapping(given[0]) if len(given) == 1 else {}
    return one, part(spec, "payloadHash"), base64.b64encode(hashlib.sha256(payload).digest()).decode()


def _is_by(raw: bytes, by: keys.PublicKey | x509.Certificate) -> bool:
    """Whether PEM or DER is this certificate or key."""
    is_pem = raw.startswith(b"-----BEGIN ")
    try:
        if isinstance(by, x509.Certificate):
            return (x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate)(raw) == by
        return keys.spki(keys.from_pem(raw.decode()) if is_pem else keys.from_der(raw)) == keys.spki(by)
    except ValueError:
        return False


def _root(leaf: bytes, index: int, size: int, nodes: Sequence[bytes]) -> bytes:
    """The tree's root, computed from a proof of inclusion (RFC 9162, 2.1.3.2). Raises NotValid for a malformed
    proof."""
    if index >= size or len(nodes) > 64 or any(len(node) != 32 for node in nodes):
        raise NotValid("the log entry's proof of inclusion is malformed")
    at, last, found = index, size - 1, leaf
    for node in nodes:
        if last == 0:
            raise NotValid("the log entry's proof of inclusion is too long")
        if at & 1 or at == last:
            found = hashlib.sha256(b"\x01" + node + found).digest()
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + node).digest()
        at, last = at >> 1, last >> 1
    if last:
        raise NotValid("the log entry's proof of inclusion is too short")
    return found


def _check_note(envelope: object, size: int, root: bytes, log: Log) -> None:
    """Check the checkpoint: `origin\\nsize\\nroot\\n…\\n`, an empty line, lines of `— name base64(hint,
    signature)`."""
    if not isinstance(envelope, str):
        raise NotValid("the log entry's proof has no checkpoint")
    text, _, signatures = envelope.partition("\n\n")
    lines = text.split("\n")
    if len(lines) < 3 or lines[1] != str(size) or decoded(lines[2], "the checkpoint's root hash") != root:
        raise NotValid("the checkpoint is of another state of the log")
    for line in signatures.splitlines()[:16]:
        mark, _, rest = line.partition(" ")
        _, _, signature = rest.rpartition(" ")
        raw = decoded(signature, "the checkpoint's signature") if mark == "—" else b""
        if len(raw) > 4 and keys.is_signed(log.key, raw[4:], f"{text}\n".encode()):
            return
    raise NotValid("the checkpoint is not signed by the log")
