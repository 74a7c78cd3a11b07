"""Signs images as cosign and Sigstore do, with the tests' own keys and authorities; every part can be altered."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "https://github.com/rocketseat/widget-server/.github/workflows/release.yml@refs/heads/main"
SIGN = "https://sigstore.dev/cosign/sign/v1"
IN_TOTO = "application/vnd.in-toto+json"
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def sign(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data)


def pem(key: PrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def private_pem(key: PrivateKey) -> bytes:
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


def spki(key: PrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.DER, form)


def payload(digest: str, **critical: Any) -> bytes:
    """cosign's simple signing payload."""
    parts = {
        "identity": {"docker-reference": ""},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": {**parts, **critical}, "optional": None}).encode()


def simple(key: PrivateKey, signed: bytes) -> dict[str, str]:
    """The annotations of the layer that holds these bytes."""
    return {"dev.cosignproject.cosign/signature": b64(sign(key, signed))}


def statement(digest: str, predicate: str = SIGN, said: object = None) -> bytes:
    subject = [{"name": "image", "digest": {"sha256": digest.removeprefix("sha256:")}}]
    document = {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": predicate}
    return json.dumps({**document, "predicate": said or {}}).encode()


def envelope(key: PrivateKey, inner: bytes, kind: str = IN_TOTO) -> dict[str, Any]:
    data = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(inner), inner)
    return {"payload": b64(inner), "payloadType": kind, "signatures": [{"sig": b64(sign(key, data))}]}


def bundle(dsse: dict[str, Any], **material: Any) -> dict[str, Any]:
    """A bundle with the key's hint, unless the material says otherwise."""
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material or {"publicKey": {"hint": ""}},
        "dsseEnvelope": dsse,
    }


def raw(document: object) -> bytes:
    return json.dumps(document).encode()


@dataclass
class Authority:
    """A certificate authority: its own root, unless another one issues it."""

    name: str = "root"
    parent: "Authority | None" = None
    key: PrivateKey = field(default_factory=new_key)
    valid: tuple[datetime, datetime] = (NOW - timedelta(days=3650), NOW + timedelta(days=3650))
    ca: bool = True

    def __post_init__(self) -> None:
        self.certificate = self.issue_for(self)

    def issue_for(self, child: "Authority") -> x509.Certificate:
        parent = child.parent or child
        builder = _certificate(child.name, parent.name, child.key, child.valid)
        builder = builder.add_extension(x509.BasicConstraints(child.ca, None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        return builder.sign(_signing(parent.key), hashes.SHA256())

    def leaf(
        self,
        key: PrivateKey,
        issuer: str | None = ISSUER,
        subject: str = SUBJECT,
        valid: tuple[datetime, datetime] = (NOW - timedelta(minutes=1), NOW + timedelta(minutes=9)),
        usages: Sequence[ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,),
    ) -> x509.Certificate:
        builder = _certificate("", self.name, key, valid)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(subject)])
        builder = builder.add_extension(names, critical=True)
        if issuer is not None:
            text = issuer.encode()
            for oid, value in (("1.8", b"\x0c" + bytes([len(text)]) + text), ("1.1", text)):
                extension = x509.UnrecognizedExtension(ObjectIdentifier(f"1.3.6.1.4.1.57264.{oid}"), value)
                builder = builder.add_extension(extension, critical=False)
        return builder.sign(_signing(self.key), hashes.SHA256())


@dataclass
class Rekor:
    """A transparency log with one other entry."""

    key: PrivateKey = field(default_factory=new_key)

    @property
    def id(self) -> bytes:
        return hashlib.sha256(spki(self.key)).digest()

    def entry(
        self, dsse: dict[str, Any], certificate: x509.Certificate, at: datetime = NOW, proof: bool = True
    ) -> dict[str, Any]:
        (given,) = dsse["signatures"]
        inner = base64.b64decode(dsse["payload"])
        stored = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(raw(dsse)).hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(inner).hexdigest()},
                "signatures": [
                    {
                        "signature": given["sig"],
                        "verifier": b64(certificate.public_bytes(serialization.Encoding.PEM)),
                    }
                ],
            },
        }
        return self.logged(raw(stored), at, proof)

    def entry_of_rekor_2(self, dsse: dict[str, Any], by: x509.Certificate | PrivateKey, **bent: Any) -> dict[str, Any]:
        """The entry that the second version of Rekor adds: with a proof, without a time. `bent`: altered parts."""
        (given,) = dsse["signatures"]
        inner, kind = base64.b64decode(dsse["payload"]), dsse["payloadType"].encode()
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(inner), inner)
        holder = (
            {"x509Certificate": {"rawBytes": der(by)}}
            if isinstance(by, x509.Certificate)
            else {"publicKey": {"rawBytes": b64(spki(by))}}
        )
        parts = {
            "data": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(signed).digest())},
            "signature": {"content": given["sig"], "verifier": {"keyDetails": "PKIX_ECDSA_P256_SHA_256", **holder}},
            **bent,
        }
        return self._of_rekor_2("hashedrekord", {"hashedRekordV002": parts})

    def envelope_of_rekor_2(
        self, dsse: dict[str, Any], by: x509.Certificate | PrivateKey, **bent: Any
    ) -> dict[str, Any]:
        """The same of an envelope as such, as sigstore-js logs it."""
        logged = json.loads(base64.b64decode(self.entry_of_rekor_2(dsse, by)["canonicalizedBody"]))
        parts = {
            "payloadHash": {
                "algorithm": "SHA2_256",
                "digest": b64(hashlib.sha256(base64.b64decode(dsse["payload"])).digest()),
            },
            "signatures": [logged["spec"]["hashedRekordV002"]["signature"]],
            **bent,
        }
        return self._of_rekor_2("dsse", {"dsseV002": parts})

    def _of_rekor_2(self, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        body = raw({"apiVersion": "0.0.2", "kind": kind, "spec": spec})
        return {
            "logIndex": "1",
            "logId": {"keyId": b64(self.id)},
            "kindVersion": {"kind": kind, "version": "0.0.2"},
            "canonicalizedBody": b64(body),
            "inclusionProof": self.proof(body),
        }

    def logged(self, body: bytes, at: datetime, proof: bool) -> dict[str, Any]:
        """The log entry of this body, in a bundle's format."""
        time = int(at.timestamp())
        promised = {"body": b64(body), "integratedTime": time, "logID": self.id.hex(), "logIndex": 7}
        promise = sign(self.key, json.dumps(promised, sort_keys=True, separators=(",", ":")).encode())
        found: dict[str, Any] = {
            "logIndex": "7",
            "logId": {"keyId": b64(self.id)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time),
            "inclusionPromise": {"signedEntryTimestamp": b64(promise)},
            "canonicalizedBody": b64(body),
        }
        return {**found, "inclusionProof": self.proof(body)} if proof else found

    def proof(self, body: bytes) -> dict[str, Any]:
        """The inclusion proof of the second of three entries."""
        first, third = (hashlib.sha256(b"\x00" + each).digest() for each in (b"first", b"third"))
        mine = hashlib.sha256(b"\x00" + body).digest()
        root = hashlib.sha256(b"\x01" + hashlib.sha256(b"\x01" + first + mine).digest() + third).digest()
        note = f"rekor.example.com - 1\n3\n{b64(root)}\n"
        signed = f"{note}\n— rekor.example.com {b64(self.id[:4] + sign(self.key, note.encode()))}\n"
        return {
            "logIndex": "1",
            "treeSize": "3",
            "rootHash": b64(root),
            "hashes": [b64(first), b64(third)],
            "checkpoint": {"envelope": signed},
        }


@dataclass
class Sigstore:
    """A root authority, an intermediate one, and a log."""

    root: Authority = field(default_factory=Authority)
    log: Rekor = field(default_factory=Rekor)

    def __post_init__(self) -> None:
        self.between = Authority("between", self.root)

    @property
    def roots(self) -> dict[str, Any]:
        """As `trusted_root.json`."""
        chain = [{"rawBytes": der(each.certificate)} for each in (self.between, self.root)]
        since = {"validFor": {"start": "2020-01-01T00:00:00Z"}}
        key = {"rawBytes": b64(spki(self.log.key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", **since}
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "certificateAuthorities": [{"uri": "x", "certChain": {"certificates": chain}, **since}],
            "tlogs": [{"baseUrl": "x", "publicKey": key, "logId": {"keyId": b64(self.log.id)}}],
        }

    def bundle(
        self, digest: str, at: datetime = NOW, proof: bool = True, predicate: str = SIGN, **certificate: Any
    ) -> dict[str, Any]:
        """A keyless signature; `certificate`: differences in its certificate."""
        key = new_key()
        dsse = envelope(key, statement(digest, predicate))
        leaf = self.between.leaf(key, **certificate)
        entries = [self.log.entry(dsse, leaf, at, proof)]
        return bundle(dsse, certificate={"rawBytes": der(leaf)}, tlogEntries=entries)


def der(certificate: x509.Certificate) -> str:
    return b64(certificate.public_bytes(serialization.Encoding.DER))


def _certificate(name: str, issuer: str, key: PrivateKey, valid: tuple[datetime, datetime]) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)] if text else [])


def _signing(key: PrivateKey) -> ec.EllipticCurvePrivateKey:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
