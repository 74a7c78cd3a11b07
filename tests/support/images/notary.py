"""Signs images as Notation does, with the tests' own authorities; every part can be altered."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from support.images.signing import NOW, PrivateKey, b64, new_key

JWS, COSE = "application/jose+json", "application/cose"
PAYLOAD = "application/vnd.cncf.notary.payload.v1+json"
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
SCHEME, EXPIRY, SIGNED_AT, AUTHENTIC, PLUGIN, TIMESTAMP = (
    f"io.cncf.notary.{name}"
    for name in (
        "signingScheme",
        "expiry",
        "signingTime",
        "authenticSigningTime",
        "verificationPlugin",
        "timestampSignature",
    )
)
PROFILE = "arn:aws:signer:us-east-2:111111111111:/signing-profiles/release"
VERSION = f"{PROFILE}/A1b2C3d4E5"
JOB = "arn:aws:signer:us-east-2:111111111111:/signing-jobs/8a9b"
BY_SIGNER: dict[str, object] = {
    PLUGIN: "com.amazonaws.signer.notation.plugin",
    "com.amazonaws.signer.signingProfileVersion": VERSION,
    "com.amazonaws.signer.signingJob": JOB,
}
COSE_ALGORITHMS = {"ES256": -7, "ES384": -35, "ES512": -36, "PS256": -37, "PS384": -38, "PS512": -39}
Span = tuple[datetime, datetime]
LONG: Span = (NOW - timedelta(days=30), NOW + timedelta(days=30))


def name(common: str, organization: str = "Rocketseat") -> x509.Name:
    pairs = zip(("C", "ST", "O", "CN"), ("US", "WA", organization, common), strict=True)
    types = {
        "C": x509.NameOID.COUNTRY_NAME,
        "ST": x509.NameOID.STATE_OR_PROVINCE_NAME,
        "O": x509.NameOID.ORGANIZATION_NAME,
        "CN": x509.NameOID.COMMON_NAME,
    }
    return x509.Name([x509.NameAttribute(types[kind], text) for kind, text in pairs])


def usage(*allowed: str) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return x509.KeyUsage(**{each: each in allowed for each in every.split()})


@dataclass
class Issuer:
    """A certificate and its key. `of`: the issuer; None: itself. `usages` None: no extended key usage. `constraints`:
    whether it has basic constraints."""

    common: str = "root"
    of: "Issuer | None" = None
    key: PrivateKey = field(default_factory=new_key)
    valid: Span = LONG
    ca: bool = True
    uses: tuple[str, ...] = ("key_cert_sign",)
    usages: Sequence[ObjectIdentifier] | None = None
    organization: str = "Rocketseat"
    constraints: bool = True

    def __post_init__(self) -> None:
        above = self.of or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(self.common, self.organization))
            .issuer_name(name(above.common, above.organization))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.valid[0])
            .not_valid_after(self.valid[1])
            .add_extension(usage(*self.uses), critical=True)
        )
        if self.constraints:
            builder = builder.add_extension(x509.BasicConstraints(self.ca, None), critical=True)
        if self.usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(self.usages)), critical=True)
        assert isinstance(above.key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        self.certificate = builder.sign(above.key, hashes.SHA256())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def signer(of: Issuer | None, **bent: Any) -> Issuer:
    """The holder of a code signing certificate."""
    given = {
        "common": "release",
        "ca": False,
        "uses": ("digital_signature",),
        "usages": (ExtendedKeyUsageOID.CODE_SIGNING,),
    }
    return Issuer(of=of, **{**given, **bent})


@dataclass
class Signing:
    """The parts of a signature of the image with this digest; `headers`: signed ones besides the format's."""

    digest: str
    by: Issuer
    above: Sequence[Issuer] = ()
    headers: dict[str, object] = field(default_factory=dict)
    critical: Sequence[str] | None = None
    algorithm: str = "ES256"
    content_type: str = PAYLOAD
    target: Mapping[str, object] = field(default_factory=dict)
    payload: bytes | None = None
    stamp: Callable[[bytes], bytes] | None = None

    def __post_init__(self) -> None:
        times = {} if AUTHENTIC in self.headers else {SIGNED_AT: NOW}
        self.headers = {SCHEME: "notary.x509", **times, **self.headers}
        if self.critical is None:
            loose = (SIGNED_AT, "note")
            self.critical = [key for key in self.headers if key not in loose]
        if self.payload is None:
            target = {"mediaType": MEDIA_TYPE, "digest": self.digest, "size": 528, **self.target}
            self.payload = json.dumps({"targetArtifact": target}).encode()

    @property
    def chain(self) -> list[bytes]:
        return [each.der for each in (self.by, *self.above)]

    def sign(self, data: bytes) -> bytes:
        key = self.by.key
        sizes: dict[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
            "384": hashes.SHA384(),
            "512": hashes.SHA512(),
        }
        algorithm = sizes.get(self.algorithm[2:], hashes.SHA256())
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(algorithm)))
            half = (key.curve.key_size + 7) // 8
            return r.to_bytes(half) + s.to_bytes(half)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key.sign(data, padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm)

    def jws(self) -> bytes:
        texts = {key: _rfc3339(value) for key, value in self.headers.items()}
        protected = {"alg": self.algorithm, "crit": self.critical, "cty": self.content_type, **texts}
        first, second = url64(json.dumps(protected).encode()), url64(self.payload or b"")
        signature = self.sign(f"{first}.{second}".encode())
        header: dict[str, object] = {"x5c": [b64(each) for each in self.chain]}
        if self.stamp is not None:
            header[TIMESTAMP] = b64(self.stamp(signature))
        made = {"payload": second, "protected": first, "header": header, "signature": url64(signature)}
        return json.dumps(made).encode()

    def cose(self) -> bytes:
        times: dict[object, object] = {
            key: cbor2.CBORTag(1, int(value.timestamp())) if isinstance(value, datetime) else value
            for key, value in self.headers.items()
        }
        algorithm: object = COSE_ALGORITHMS.get(self.algorithm, self.algorithm)
        headers: dict[object, object] = {1: algorithm, 2: list(self.critical or ()), 3: self.content_type}
        protected = cbor2.dumps(headers | times)
        signature = self.sign(cbor2.dumps(["Signature1", protected, b"", self.payload]))
        header: dict[object, object] = {33: self.chain}
        if self.stamp is not None:
            header[TIMESTAMP] = self.stamp(signature)
        return cbor2.dumps(cbor2.CBORTag(18, [protected, header, self.payload, signature]))

    def envelope(self, kind: str) -> bytes:
        return self.jws() if kind == JWS else self.cose()


def url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _rfc3339(value: object) -> object:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value
