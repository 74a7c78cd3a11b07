"""VEX of an image: the findings that the gate `scan` ignores by statements that a trusted signer has signed.

Of the statements about one vulnerability in one package, the newest by its own time counts. A statement that ignores a
finding counts only if it is signed by a signer of the present policy, attached to the image in the source environment,
and in force. A statement that ends an earlier one counts wherever it was attached, and even after it was removed.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from tallyman.domain.gates.attached import Attached, by_signature, promotes_nothing, signer_of, unseen_in
from tallyman.domain.gates.case import Case
from tallyman.domain.gates.signers import Signers
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.findings import Row, installed_of
from tallyman.domain.images.purls import Package
from tallyman.domain.images.signatures import BUNDLE
from tallyman.domain.images.vex import VexStatement, is_vex
from tallyman.domain.names import Digest
from tallyman.domain.times import text_or_none
from tallyman.values import value

_END = datetime.max
_ATTACHED = Attached(
    gate="scan",
    one="VEX",
    evidence="vex",
    passed="",
    missing="",
    is_meant=lambda origin: is_vex(origin.statement),
    may_hold=lambda referred: (
        (referred.artifact_type or "").startswith(BUNDLE) and any(map(is_vex, map(str, referred.predicates or ())))
    ),
)


@value
class Assertion:
    """A signed statement. `by`: its signer; `author`: the one that the document names; `referrer`: the digest of the
    manifest that holds it."""

    statement: VexStatement
    by: str
    author: str | None
    referrer: str

    def as_json(self) -> dict[str, Any]:
        """The form in the facts of a gate's result."""
        at = text_or_none(self.statement.at)
        said = {"status": self.statement.status, "because": self.statement.because, "at": at}
        return {**said, "by": self.by, "author": self.author, "referrer": self.referrer}

    @property
    def words(self) -> str:
        """The statement for people."""
        by = f"{self.author} ({self.by})" if self.author else self.by
        return f"ignored by VEX of {by}: {self.statement.because}"


class VexOfImage:
    """The statements about one image. `flaws`: attached VEX that does not count, and why; `not_looked_at`: digests of
    referrers that may hold VEX and are not verified yet; `outdated`: of those that other rules than the present ones
    verified."""

    def __init__(self, signers: Signers, case: Case, digest: Digest, facts: tuple[Fact, ...]) -> None:
        self._signers, self._case = signers.beside(case.policy), case
        self._places = case.source_places
        self._by_id: dict[str, list[Assertion]] = {}
        self.flaws: list[str] = []
        self.not_looked_at: list[str] = []
        self.outdated: set[str] = set()
        self._read(facts)
        if digest != case.image.digest:  # statements about the index count for its platform images
            self._read(case.image.facts, (case.image.platform_names.get(digest) or "").split("/")[1:2])

    def ignoring(self, row: Row) -> Assertion | None:
        """The statement by which a finding is ignored; None: it is not. A finding in several packages must be ignored
        in each of them; then one of the statements is returned."""
        said = self._by_id.get(str(row["id"]), [])
        packages: list[Package] | list[None] = installed_of(row) or [None]
        newest = [self._newest(said, package) for package in packages]
        found = [each for each in newest if each is not None and each.statement.ignores]
        return found[0] if len(found) == len(packages) else None

    def begins(self) -> Iterator[datetime]:
        """The times at which statements that are not in force yet come into force."""
        times = (said.statement.at for each in self._by_id.values() for said in each)
        return (at for at in times if at is not None and at > self._case.now)

    def _newest(self, said: Iterable[Assertion], package: Package | None) -> Assertion | None:
        now = self._case.now
        about = (
            t
            for t in said
            if t.statement.is_of(package)
            and not (t.statement.ignores and (t.statement.at is None or t.statement.at > now))
        )
        return max(about, key=_order, default=None)

    def _read(self, facts: tuple[Fact, ...], arch: list[str] | None = None) -> None:
        """Read the statements in these facts. `arch`: the architecture of the platform image, for statements about its
        index; empty: not known; None: the facts are of the image itself."""
        self.not_looked_at += unseen_in(_ATTACHED, self._case, facts)
        for origin, attached in self._origins(facts):
            if attached and origin.is_outdated:
                self.outdated.add(origin.referrer)
                if origin.is_verified and promotes_nothing(self._case, origin):
                    self.not_looked_at.append(origin.referrer)
                    attached = False
            for said in self._assertions(origin):
                only, ignores = said.statement.arch, said.statement.ignores
                is_meant = arch is None or only in (None, *arch) or not (arch or ignores)
                if is_meant and (attached or not ignores):
                    for id in said.statement.ids:
                        self._by_id.setdefault(id, []).append(said)

    def _origins(self, facts: tuple[Fact, ...]) -> Iterator[tuple[Origin, bool]]:
        """The verdicts about VEX, each with whether it is still attached to the image in the source environment."""
        read = Origin.of(sorted((f for f in facts if f.kind is Kind.ORIGIN), key=lambda f: (f.seen, f.id)))
        for place in dict.fromkeys(origin.repository for origin in read):
            here = (origin for origin in read if origin.repository == place and is_vex(origin.statement))
            for verdicts in by_signature(self._signers, here):
                for origin in verdicts:
                    is_gone = (place, origin.referrer) in self._case.image.gone
                    yield origin, place in self._places and not is_gone

    def _assertions(self, origin: Origin) -> Iterator[Assertion]:
        name, by, vex = Digest(origin.referrer).short, signer_of(self._signers, origin), origin.vex or {}
        flaw = vex.get("flaw") if origin.is_verified else origin.reason
        if flaw is None and by is None and vex.get("statements"):
            flaw = "signed by somebody whom the policy does not name"
        if flaw:
            self.flaws.append(f"{name}: {flaw}")
        if by is not None:
            for said in vex.get("statements", ()):
                yield Assertion(VexStatement.from_json(said), by, vex.get("author"), origin.referrer)


def _order(said: Assertion) -> tuple[bool, datetime, bool]:
    """The sort key by which the newest is last; of two at one time, the one that does not ignore. A statement without a
    time comes last: it ends all others."""
    at = said.statement.at
    return at is None, _END if at is None else at.replace(tzinfo=None), not said.statement.ignores
