"""VEX of an image: which findings the gate `scan` ignores by statements that a signer of the policy has signed.

Of the statements about one vulnerability in one package, the newest counts, by its own time. What ignores has to be
certain: signed by a signer of now, attached to the image in the source environment, in force. What ends an earlier
statement does not: it counts wherever it was attached, and after it was removed too.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from tallyman.domain.gates.case import Case
from tallyman.domain.gates.signers import Attached, Signers, signer_of, unseen_in
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.findings import Row, installed_of
from tallyman.domain.images.purls import Package
from tallyman.domain.images.signatures import BUNDLE
from tallyman.domain.images.vex import VexStatement, is_vex
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time
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
    """A statement, and who says it: `by` has signed it, `author` is who the document names, `referrer` holds it."""

    statement: VexStatement
    by: str
    author: str | None
    referrer: str

    def as_json(self) -> dict[str, Any]:
        """For the facts of a verdict."""
        at = format_time(self.statement.at) if self.statement.at else None
        said = {"status": self.statement.status, "because": self.statement.because, "at": at}
        return {**said, "by": self.by, "author": self.author, "referrer": self.referrer}

    @property
    def words(self) -> str:
        """For people."""
        by = f"{self.author} ({self.by})" if self.author else self.by
        return f"ignored by VEX of {by}: {self.statement.because}"


class VexOfImage:
    """What was said of one image. `flaws`: what is attached and does not count, and why. `not_looked_at`: referrers
    that may hold a VEX, and that no verdict is about yet."""

    def __init__(self, signers: Signers, case: Case, digest: Digest, facts: tuple[Fact, ...]) -> None:
        self._signers, self._case = signers.beside(case.policy), case
        self._places = {str(place) for place in case.source_repositories}
        self._by_id: dict[str, list[Assertion]] = {}
        self.flaws: list[str] = []
        self.not_looked_at: list[str] = []
        self._read(facts)
        if digest != case.image.digest:  # what is said of the index counts for its images
            self._read(case.image.facts, (case.image.platform_names.get(digest) or "").split("/")[1:2])

    def ignoring(self, row: Row) -> Assertion | None:
        """The statement by which a finding is ignored; None: it is not. Of a finding in several packages, all have to
        be; one of their statements then stands for all."""
        said = self._by_id.get(str(row["id"]), [])
        packages: list[Package] | list[None] = installed_of(row) or [None]
        newest = [self._newest(said, package) for package in packages]
        found = [each for each in newest if each is not None and each.statement.ignores]
        return found[0] if len(found) == len(packages) else None

    def begins(self) -> Iterator[datetime]:
        """When statements come into force that are not yet."""
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
        """What these facts say of the image. `arch`: the architecture by which statements about an index are meant,
        empty: it is not known; None: every statement is meant."""
        self.not_looked_at += unseen_in(_ATTACHED, self._case, facts)
        for origin, attached in self._origins(facts):
            for said in self._assertions(origin):
                only, ignores = said.statement.arch, said.statement.ignores
                is_meant = arch is None or only in (None, *arch) or not (arch or ignores)
                if is_meant and (attached or not ignores):
                    for id in said.statement.ids:
                        self._by_id.setdefault(id, []).append(said)

    def _origins(self, facts: tuple[Fact, ...]) -> Iterator[tuple[Origin, bool]]:
        """Each verdict about a VEX, and whether that is still attached to the image in the source environment."""
        for fact in sorted((f for f in facts if f.kind is Kind.ORIGIN), key=lambda f: (f.seen, f.id)):
            origin = Origin.parse(fact)
            if is_vex(origin.statement):
                yield origin, origin.repository in self._places and self._case.image.still_refers(fact)

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
    """The newest is last; of two of one time, what does not ignore. What has no time ends whatever was said."""
    at = said.statement.at
    return at is None, _END if at is None else at.replace(tzinfo=None), not said.statement.ignores
