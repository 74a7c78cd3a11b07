"""Verifies the signatures of an image, invokes the functions of its checks, records each verdict, and evaluates it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from tallyman.domain.gates.check import functions_of
from tallyman.domain.gates.notation import FORM, NotationSigner, holds
from tallyman.domain.gates.signers import signers_of
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.images import signatures
from tallyman.domain.images.documents import loads_writable
from tallyman.domain.images.manifest import Descriptor, Manifest, readable
from tallyman.domain.images.provenance import predicate_of
from tallyman.domain.names import Digest, Repository
from tallyman.domain.plain import plain
from tallyman.domain.policy import Policy
from tallyman.domain.text import counted
from tallyman.domain.times import text_or_none, whole_millis
from tallyman.errors import BadInput, BadMessage, NotFound, OutOfTime, TallymanError
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.records import Ledger
from tallyman.ports.registries import ImageSource
from tallyman.ports.signatures import CheckedSignature, PublicKeys, Revocations, Signatures
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.verification.ask_checks import AskChecks
from tallyman.values import value

LARGEST = 1024 * 1024
"""The largest payload, bundle or envelope of a signature that is read, in bytes."""
REVOCATION_AGAIN = timedelta(days=1)
"""How long an answer of AWS Signer about revocations is valid."""
_LONGEST = 500
"""The most characters of revoked names in a reason."""


class _NotAsked(Exception):
    """A signature could not be verified for now; gates that need it wait."""


@value
class _Found:
    """One signature of an image, or signed statement about it. `referrer`: the manifest that holds it; `layer`: its
    layer in that manifest; `statement`: the predicate type in the annotations."""

    referrer: Digest
    form: str
    layer: Descriptor
    statement: str | None = None

    @property
    def id(self) -> str:
        """An id that differs wherever anything that is signed or verified differs."""
        return fact_id(
            "signature", self.form, self.layer.digest, json.dumps(dict(self.layer.annotations), sort_keys=True)
        )


@value
class _By:
    """The signers that the promotions trust: keys (PEM by name), and Notation's signers."""

    keys: Mapping[str, str]
    trusted: Sequence[NotationSigner]

    def looked(self, form: str) -> list[str]:
        """The names of the signers that a verdict about a signature of this form depends on, sorted."""
        return sorted({str(each) for each in self.trusted} if form == FORM else self.keys)


@value
class VerifyOrigin:
    """The reaction to hints `{"verify_origin": {repository, digest}}`: see `hint_origin`."""

    policy: Policy
    source: ImageSource
    ledger: Ledger
    signatures: Signatures
    evaluator: Evaluator
    checks: AskChecks
    public_keys: PublicKeys
    revocations: Revocations
    clock: Clock

    def handle(self, body: str, deadline: Deadline) -> str:
        """Verify the signatures of an image, or of an index and each of its platform images; the hint may also name a
        signature instead of its image. Return the line for the log.

        Cost: nothing where no promotion from there asks for signers; else a list of referrers and a manifest for each
        image, and a blob and a write for each signature that was not verified with the present keys, roots and rules.
        Raises BadMessage, and OutOfTime near the deadline: the verdicts so far are recorded; the next try continues.
        """
        repository, digest = _asked(body)
        promotions = self.policy.promotions_out_of(repository)
        signers, functions = signers_of(promotions), functions_of(promotions)
        if not signers and not functions:
            return "ignored: no promotion from there asks for keys, identities or functions"
        keys, unread = self._keys({key.name: key.pem for each in signers for key in each.keys})
        by = _By(keys, [who for each in signers for who in each.notation])
        written = 0
        for image in self._images(repository, digest) if signers else ():
            found = self._verify(repository, image, by, deadline, unread)
            written += found
            if found:
                self.evaluator.digest(image)
        asked = self.checks.ask(digest) if functions else 0
        return "; ".join((f"{counted(written, 'signature')} verified, {counted(asked, 'check')} asked for", *unread))

    def _keys(self, named: Mapping[str, str | None]) -> tuple[dict[str, str], list[str]]:
        """The PEM of each key by name, and why the others could not be read. What needs those keys waits."""
        keys: dict[str, str] = {}
        unread: list[str] = []
        for name, pem in named.items():
            try:
                keys[name] = pem or self.public_keys.pem(name)
            except TallymanError as error:
                unread.append(f"the key {name} can't be read: {error}")
        return keys, unread

    def _images(self, repository: Repository, digest: Digest) -> list[Digest]:
        """The image (of a signature: its subject) and the platform images of an index; empty: it is gone."""
        manifest = self._manifest(repository, digest)
        if manifest is not None and manifest.subject is not None:
            manifest = self._manifest(repository, manifest.subject.digest)
        if manifest is None:
            return []
        return list(dict.fromkeys((manifest.digest, *(child.digest for child in manifest.platform_children))))

    def _manifest(self, repository: Repository, digest: Digest) -> Manifest | None:
        try:
            found = self.source.manifest(repository, digest)
        except NotFound:
            return None
        return readable(found) if found is not None and found.digest == digest else None

    def _verify(self, repository: Repository, image: Digest, by: _By, deadline: Deadline, unread: list[str]) -> int:
        known = self._known(repository, image, by)
        written = 0
        for found in self._found(repository, image):
            if (found.referrer, found.id) in known:
                continue
            if deadline() <= 0:
                raise OutOfTime(f"the signatures of {repository}@{image} are not all verified yet")
            try:
                checked = self._check(repository, image, found, by)
            except _NotAsked as error:
                unread.append(str(error))
                continue
            if checked is not None:
                self.ledger.append(self._fact(repository, image, found, checked, by.looked(found.form)))
                written += 1
        return written

    def _known(self, repository: Repository, image: Digest, by: _By) -> set[tuple[str, str]]:
        """The signatures in the repository that have a verdict with these signers and the present roots and rules. Of
        Notation's signatures only the last verdict counts, while it is valid."""
        facts = sorted((f for f in self.ledger.of_digest(image) if f.kind is Kind.ORIGIN), key=lambda f: (f.seen, f.id))
        now = self.clock()
        known: set[tuple[str, str]] = set()
        for verdict in Origin.of(f for f in facts if f.repository == repository):
            signature = (verdict.referrer, verdict.signature)
            same = verdict.roots == self._roots(verdict.form) and set(by.looked(verdict.form)) <= set(verdict.looked)
            if same and holds(verdict, now) and not verdict.is_outdated:
                known.add(signature)
            elif verdict.form == FORM:
                known.discard(signature)
        return known

    def _roots(self, form: str) -> str | None:
        return self.signatures.notation_roots if form == FORM else self.signatures.roots

    def _found(self, repository: Repository, image: Digest) -> Iterator[_Found]:
        """Yield every signature of the image in the repository: referrers, and those under cosign's tag."""
        try:
            listed = [entry.digest for entry in self.source.referrers(repository, image)]
            by_tag = self.source.manifest(repository, signatures.tag_of(image))
            read = self.source.manifests(repository, listed) if listed else {}
        except NotFound:
            return
        for raw in [*read.values(), *([by_tag] if by_tag is not None else [])]:
            manifest = readable(raw)
            if manifest is None or manifest.is_index:
                continue
            kind = manifest.artifact_type or ""
            for layer in manifest.layers:
                if layer.media_type == signatures.SIMPLE_SIGNING:
                    yield _Found(manifest.digest, "cosign", layer)
                elif layer.media_type.startswith(signatures.BUNDLE):
                    stated = predicate_of(manifest.annotations) or predicate_of(layer.annotations)
                    is_statement = stated and not stated.startswith(signatures.SIGN_PREDICATE)
                    yield _Found(manifest.digest, "bundle", layer, stated if is_statement else None)
                elif kind == signatures.NOTATION:
                    yield _Found(manifest.digest, FORM, layer)

    def _check(self, repository: Repository, image: Digest, found: _Found, by: _By) -> CheckedSignature | None:
        """Verify one signature; None: it was removed since. Raises _NotAsked."""
        if found.layer.size > LARGEST:
            return CheckedSignature(reason=f"it has {found.layer.size} bytes, more than {LARGEST}")
        raw = b""
        try:
            with self.source.open_blob(repository, found.layer.digest) as stream:
                for chunk in stream:
                    raw += chunk
                    if len(raw) > LARGEST:
                        return CheckedSignature(reason=f"it has more than {LARGEST} bytes")
        except NotFound:
            return None
        if Digest.of(raw) != found.layer.digest:
            return CheckedSignature(reason="its bytes are not those that its manifest names")
        if found.form == "bundle":
            return self.signatures.bundle(image, raw, by.keys)
        if found.form == FORM:
            manifest = self._manifest(repository, image)
            if manifest is None:
                return None
            return self._notation(manifest, found.layer.media_type, raw, by.trusted)
        return self.signatures.simple_signing(image, raw, found.layer.annotations, by.keys)

    def _notation(self, image: Manifest, kind: str, raw: bytes, trusted: Sequence[NotationSigner]) -> CheckedSignature:
        """Verify an envelope, and ask AWS Signer whether a signature by a trusted profile was revoked; that answer
        is valid for a day. Raises _NotAsked.
        """
        now = self.clock()
        checked = self.signatures.notation(image, kind, raw, now)
        if checked.job is None or not any(each.is_of(checked.identity or {}) for each in trusted):
            return checked
        try:
            revoked = self.revocations.revoked(checked.job)
        except TallymanError as error:
            raise _NotAsked(f"a signature by {checked.job.profile} is not verified: {error}") from None
        if revoked:
            return CheckedSignature(reason=f"AWS Signer has revoked {', '.join(revoked)[:_LONGEST]}")
        again = now + REVOCATION_AGAIN
        return replace(checked, until=min(checked.until or again, again))

    def _fact(
        self,
        repository: Repository,
        image: Digest,
        found: _Found,
        checked: CheckedSignature,
        looked: list[str],
    ) -> Fact:
        now, roots = whole_millis(self.clock()), self._roots(found.form)
        again = (now,) if found.form == FORM else ()  # each verdict about these replaces the one before
        verdict = Origin(
            repository=str(repository),
            referrer=str(found.referrer),
            signature=found.id,
            form=found.form,
            verdict="refused" if checked.reason else "verified",
            keys=checked.keys,
            identity=checked.identity,
            signed_at=checked.at,
            reason=checked.reason,
            looked=looked,
            roots=roots,
            statement=checked.statement if checked.reason is None else found.statement,
            claims=plain(checked.claims),
            vex=plain(checked.vex),
            until=text_or_none(checked.until),
            rules=signatures.RULES,
        )
        key = (repository, image, found.referrer, found.id, roots, signatures.RULES, *looked, *again)
        return new_fact(Kind.ORIGIN, key, verdict, now, via=Via.EVENT, digest=image, repository=repository)


def _asked(body: str) -> tuple[Repository, Digest]:
    try:
        asked = loads_writable(body)["verify_origin"]
        return Repository.parse(asked["repository"]), Digest.parse(asked["digest"])
    except (BadInput, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadMessage(f"expected {{verify_origin: {{repository, digest}}}}: {error}") from None
