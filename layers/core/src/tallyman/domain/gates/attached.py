"""What is attached to an image and signed: which of it counts, for the gates `signed`, `built` and `scan`.

The verdict uses the facts that `verify_origin` records, one for each signature, and the present policy: a key that was
removed from the policy no longer counts, whatever was verified with it. A verdict by the rules of another version of
Tallyman promotes nothing; until the signature is verified again, it counts as before in everything else.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, GateResult
from tallyman.domain.gates.notation import FORM, ROOTS, holds, name_of, notation_signer
from tallyman.domain.gates.signers import On, Signers, shown
from tallyman.domain.history.details.referrers import Origin, Referred
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest
from tallyman.domain.policy.tags import glob_matches
from tallyman.domain.text import counted
from tallyman.values import value


class Flaw(StrEnum):
    """Why an attached signature or statement does not count; in the facts of a decision, beside the words."""

    UNVERIFIED = "unverified"
    UNTRUSTED = "untrusted"
    BUILDER = "builder"
    SOURCE = "source"
    REF = "ref"


@value
class Attached:
    """The kind of attached signatures or statements that a gate counts, and the words for its results. `one`: a noun;
    `evidence`: the key of its facts; `is_meant`: whether a verdict of `verify_origin` is about this kind; `may_hold`:
    whether a referrer without a verdict may hold one."""

    gate: str
    one: str
    evidence: str
    passed: str
    missing: str
    is_meant: Callable[[Origin], bool]
    may_hold: Callable[[Referred], bool]


def judge_images(
    gate: str, on: On, case: Case, judge_one: Callable[[Digest, tuple[Fact, ...]], GateResult]
) -> GateResult:
    """The result for the image itself, or with `on: platforms` the worst result of an index's platform images."""
    if on is On.INDEX or case.image.is_index is False:
        return judge_one(case.image.digest, case.image.facts)
    if not case.image.platforms:
        return GateResult(gate, WAITING, "the platform images of the index are not known yet")
    names = case.image.platform_names
    results = [
        (names.get(digest, digest.short), judge_one(digest, facts))
        for digest, facts in sorted(case.image.platforms.items())
    ]
    facts = {"images": [dict(result.facts) for _, result in results]}
    for verdict in (FAILED, WAITING):
        if bad := [f"{name}: {result.reason}" for name, result in results if result.verdict == verdict]:
            return GateResult(gate, verdict, "; ".join(bad), facts)
    return GateResult(gate, PASSED, "; ".join(f"{name}: {result.reason}" for name, result in results), facts)


def judge_attached(
    what: Attached,
    signers: Signers,
    case: Case,
    image: tuple[Digest, tuple[Fact, ...]],
    accept: Callable[[Origin, str], tuple[Flaw | None, str]],
) -> GateResult:
    """The result for what is attached to one `image` (its digest and facts). `accept` gets the verdict about a
    signature of a trusted signer, and the signer's name; it returns why it does not count (None: it does), and the
    same in words. One that counts is enough, whatever else is attached."""
    digest, facts = image
    signers = signers.beside(case.policy)
    looked = [origin for origin in _origins(case, facts) if what.is_meant(origin)]
    good: list[str] = []
    refused: list[tuple[str, Origin, Flaw]] = []
    unseen = unseen_in(what, case, facts)
    outdated: list[str] = []
    for verdicts in by_signature(signers, looked):
        signed = next(((origin, by) for origin in verdicts if (by := signer_of(signers, origin))), None)
        outdated += [each.referrer for each in verdicts if each.is_outdated][-1:]
        if _must_be_verified(signers, case, verdicts[-1], signed):
            unseen.append(verdicts[-1].referrer)
        elif signed is not None:
            origin, _ = signed
            flaw, words = accept(*signed)
            if flaw is None:
                good.append(words)
            else:
                refused.append((words, origin, flaw))
        elif current := [origin for origin in verdicts if _covers(signers, origin)]:
            flaw = Flaw.UNTRUSTED if current[-1].is_verified else Flaw.UNVERIFIED
            refused.append((_words(current[-1]), current[-1], flaw))
        else:
            unseen.append(verdicts[-1].referrer)
    bad = sorted(words for words, _, _ in refused)
    evidence = {
        "digest": digest,
        what.evidence: sorted(good),
        "refused": bad,
        "refusals": [{"referrer": r, "flaw": f} for r, f in sorted((o.referrer, str(f)) for _, o, f in refused)],
        "not_looked_at": sorted(unseen),
        **({"outdated": sorted(outdated)} if outdated else {}),
    }
    others = f"; does not count: {'; '.join(bad)}" if bad else ""
    if good:
        return GateResult(what.gate, PASSED, f"{what.passed}{', '.join(sorted(set(good)))}{others}", evidence)
    if unseen:
        present = "keys, roots and rules" if outdated else "keys and roots"
        reason = f"{counted(len(unseen), what.one)} not verified yet with the present {present}{others}"
        return GateResult(what.gate, WAITING, reason, evidence)
    if bad:
        return GateResult(what.gate, FAILED, f"no {what.one} counts: {'; '.join(bad)}", evidence)
    return GateResult(what.gate, WAITING, what.missing, evidence)


def unseen_in(what: Attached, case: Case, facts: tuple[Fact, ...]) -> list[str]:
    """The digests of the referrers in the source environment that may hold one, and have no verdict yet."""
    places = case.source_places
    known = {origin.referrer for origin in _origins(case, facts)}
    attached = Referred.of(f for f in facts if f.kind is Kind.REFERRED and case.image.still_refers(f))
    return [r.referrer for r in attached if r.repository in places and r.referrer not in known and what.may_hold(r)]


def _origins(case: Case, facts: tuple[Fact, ...]) -> list[Origin]:
    """The verdicts about referrers that are still in the source environment, oldest first."""
    places = case.source_places
    there = [f for f in facts if f.kind is Kind.ORIGIN and case.image.still_refers(f)]
    found = Origin.of(sorted(there, key=lambda f: (f.seen, f.id)))
    return [origin for origin in found if origin.repository in places]


def by_signature(signers: Signers, found: Iterable[Origin]) -> Iterator[list[Origin]]:
    """The verdicts about each signature that count, in their order: of Notation's the last; of others those by the
    present rules, once these were applied with the present signers; until then all."""
    grouped: dict[str, list[Origin]] = {}
    for origin in found:
        grouped.setdefault(origin.signature, []).append(origin)
    for verdicts in grouped.values():
        present = [each for each in verdicts if not each.is_outdated]
        is_done = any(_covers(signers, each) or signer_of(signers, each) for each in present)
        yield verdicts[-1:] if verdicts[-1].form == FORM else present if is_done else verdicts


def _must_be_verified(signers: Signers, case: Case, last: Origin, signed: tuple[Origin, str] | None) -> bool:
    """Whether what the verdicts about a signature say does not count until it is verified again. `last`: the last of
    them; `signed`: the one by which it is of a trusted signer, and the signer."""
    if signed is not None and promotes_nothing(case, signed[0]):
        return True
    return not holds(last, case.now) or (last.form == FORM and not _covers(signers, last))


def promotes_nothing(case: Case, verdict: Origin) -> bool:
    """Whether the verdict is by the rules of another version, and the image is not promoted yet."""
    return case.promoted_at is None and verdict.is_outdated


def signer_of(config: Signers, origin: Origin) -> str | None:
    """The trusted signer of this signature, for people; None: none of them, or the signature was refused."""
    if not origin.is_verified:
        return None
    if origin.form == FORM:
        return notation_signer(config.notation, origin)
    for key in config.keys:
        if key.name in origin.keys:
            return f"key {shown(key.name)}"
    who = origin.identity
    if not who or config.roots not in (None, origin.roots):
        return None
    if any(i.issuer == who["issuer"] and glob_matches(i.subject, who["subject"]) for i in config.identities):
        return f"{who['subject']} ({who['issuer']})"
    return None


def _covers(config: Signers, origin: Origin) -> bool:
    """Whether the signature was verified with every key of the policy and, for identities, with its roots."""
    if origin.form == FORM:
        current = (origin.roots or "").startswith(ROOTS) and config.stores in (None, origin.roots)
        return not config.notation or (current and {str(each) for each in config.notation} <= set(origin.looked))
    if not {key.name for key in config.keys} <= set(origin.looked):
        return False
    if not config.identities or origin.keys:
        return True
    return origin.roots is not None and config.roots in (None, origin.roots)


def _words(origin: Origin) -> str:
    """Why a signature does not count that was verified with all keys and roots of the policy."""
    name = Digest(origin.referrer).short
    if not origin.is_verified:
        return f"{name}: {origin.reason}"
    who = origin.identity
    if origin.form == FORM:
        return f"{name}: signed by {name_of(who or {})}, whom the policy does not name"
    by = f"{who['subject']} ({who['issuer']})" if who else ", ".join(shown(key) for key in origin.keys)
    return f"{name}: signed by {by}, whom the policy does not name"
