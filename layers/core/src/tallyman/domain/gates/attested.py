"""The gate `attested`: the image has an SBOM, a provenance or another statement.

The statement may be a referrer of the image, or an attestation that buildx puts into an index (`unknown/unknown`). An
SBOM counts only if it names a package; the content of other statements is not read.
"""

from typing import Any

from tallyman.domain.gates.case import PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.details.referrers import Referred
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images import sboms
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import ListOf, OneOrMore, String
from tallyman.domain.policy.tags import glob_matches
from tallyman.values import value

TYPES = {
    "sbom": tuple(f"{beginning}*" for beginning in sboms.BEGINNINGS),
    "provenance": ("https://slsa.dev/provenance/*", "application/vnd.slsa.provenance*"),
}
"""Globs of artifact types and in-toto predicate types for the two short names."""


@value
class AttestedGate(GateConfig):
    """Requires a statement of each of `types`: `sbom`, `provenance`, or a glob of artifact or predicate types."""

    types: tuple[str, ...]

    def __str__(self) -> str:
        return f"attested ({', '.join(self.types)})"


def judge(config: AttestedGate, case: Case) -> GateResult:
    """Passed where the image itself, or each platform image of the index, has a statement of each type; else
    waiting."""
    facts: dict[str, Any] = {}
    missing = []
    for wanted in config.types:
        own = _found(wanted, case, case.image.facts)
        beneath = {digest: _found(wanted, case, theirs) for digest, theirs in case.image.platforms.items()}
        facts[wanted] = own or sorted({digest for found in beneath.values() for digest in found})
        if own or (beneath and all(beneath.values())):
            continue
        names = case.image.platform_names
        lacking = sorted(names.get(digest, digest.short) for digest, found in beneath.items() if not found)
        some = len(lacking) < len(beneath)
        empty = wanted == "sbom" and any(
            referred.packages == 0 for referred in Referred.of(case.image.of(Kind.REFERRED))
        )
        lacks = "the SBOM names no package" if empty else f"no {wanted} yet"
        missing.append(lacks + (f" of {', '.join(lacking)}" if beneath and some else ""))
    if missing:
        return GateResult("attested", WAITING, "; ".join(missing), facts)
    return GateResult("attested", PASSED, f"{', '.join(config.types)} is there", facts)


def _found(wanted: str, case: Case, facts: tuple[Fact, ...]) -> list[str]:
    """The digests of the statements of this type in the source environment, without removed ones."""
    globs, places = TYPES.get(wanted, (wanted,)), case.source_places
    return sorted(
        {
            referred.referrer
            for referred in Referred.of(f for f in facts if f.kind is Kind.REFERRED and case.image.still_refers(f))
            if referred.repository in places
            and not (wanted == "sbom" and referred.packages == 0)
            and any(glob_matches(g, text) for g in globs for text in _types_of(referred))
        }
    )


def _types_of(referred: Referred) -> list[str]:
    return [str(t) for t in (referred.artifact_type, *(referred.predicates or ())) if t]


_TYPE = String(r"sbom|provenance|[^\s/]+/\S+", "sbom, provenance, or an artifact or predicate type (a glob)")
GATE: Gate = Gate(
    OneOrMore(ListOf(_TYPE, least=1, build=AttestedGate), str),
    "The attestations that the image must have: sbom, provenance, or globs of artifact or predicate types.",
    judge,
)
