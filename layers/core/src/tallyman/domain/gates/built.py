"""The gate `built`: a verified provenance names an allowed builder, source repository, and branch or tag.

A provenance counts only if a signer of the policy signed it: `keys` and `identities` here, or those of `signed` in the
same promotion. So nobody who may push can promote a build of another branch as one of main.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tallyman.domain.gates.attached import Attached, Flaw, judge_attached, judge_images
from tallyman.domain.gates.case import FAILED, Case, Gate, GateResult
from tallyman.domain.gates.signers import KEYS, HasSigners, On, Signers, signers_from
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.images.claims import SLSA, source_of
from tallyman.domain.images.signatures import BUNDLE
from tallyman.domain.names import Digest
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.shapes import Key, ListOf, Record, Schema, String
from tallyman.domain.policy.tags import glob_matches
from tallyman.values import value


@value
class BuiltGate(HasSigners):
    """Globs, one of which must match: `builders`, `sources` (URLs of repositories), `refs` (`refs/heads/…`,
    `refs/tags/…`). Empty: any. `on`: see `Signers`."""

    builders: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    on: On = On.INDEX

    @property
    def words(self) -> Mapping[str, Any]:
        own = self.signers.words if self.signers else {"on": str(self.on)}
        return {"by": list(self.builders), "from": list(self.sources), "refs": list(self.refs), **own}

    def __str__(self) -> str:
        parts = (("by", self.builders), ("from", self.sources), ("at", self.refs))
        words = [f"{word} {', '.join(given)}" for word, given in parts if given]
        return f"built ({'; '.join(words)})"


_PROVENANCES = Attached(
    gate="built",
    one="provenance",
    evidence="builds",
    passed="",
    missing="no signed provenance yet",
    is_meant=lambda origin: (origin.statement or "").startswith(SLSA),
    may_hold=lambda referred: (
        (referred.artifact_type or "").startswith(BUNDLE)
        and any(str(predicate).startswith(SLSA) for predicate in referred.predicates or ())
    ),
)


def judge(config: BuiltGate, case: Case) -> GateResult:
    """Passed where one verified provenance of the image has the claims that the policy requires; waiting where there is
    no provenance, or one is not verified yet; else failed."""
    signers = config.signers or case.promotion.gates.get("signed")
    if not isinstance(signers, Signers) or not (signers.keys or signers.identities):
        why = "the policy names nobody whose provenance counts: name `keys` or `identities` here or in `signed`"
        return GateResult("built", FAILED, why)

    def accept(origin: Origin, _: str) -> tuple[Flaw | None, str]:
        return _wrong(config, origin) or (None, _build(origin))

    return judge_images(
        "built", config.on, case, lambda *image: judge_attached(_PROVENANCES, signers, case, image, accept)
    )


def _wrong(config: BuiltGate, origin: Origin) -> tuple[Flaw, str] | None:
    """The first claim of a verified provenance that the policy does not allow, with words; None: there is none."""
    said, name = origin.claims or {}, Digest(origin.referrer).short
    for what, key, globs in (
        ("built by", Flaw.BUILDER, config.builders),
        ("built from", Flaw.SOURCE, config.sources),
        ("built at", Flaw.REF, config.refs),
    ):
        found = said.get(key)
        if globs and not any(found is not None and glob_matches(glob, found) for glob in globs):
            return key, f"{name}: {what} {found or '(not stated)'}, not {', '.join(globs)}"
    return None


def _build(origin: Origin) -> str:
    said = origin.claims or {}
    words = (("by", said.get("builder")), ("from", said.get("source")), ("at", said.get("ref")))
    commit = f" ({text[:12]})" if (text := said.get("commit")) else ""
    return f"built {' '.join(f'{word} {text}' for word, text in words if text)}{commit}"


def _gate(
    by: Iterable[str] = (), sources: Iterable[str] = (), branch: Iterable[str] = (), on: On = On.INDEX, **signers: Any
) -> BuiltGate:
    refs = tuple(each if each.startswith("refs/") else f"refs/heads/{each}" for each in branch)
    named = signers_from(on=on, **signers) if "keys" in signers or "identities" in signers else None
    return BuiltGate(named, tuple(by), tuple(source_of(each) or each for each in sources), refs, on)


class _Built:
    """At least one of `by`, `from` and `branch`."""

    _record = Record(
        {
            "by": Key(ListOf(String(what="a builder, a URL or a glob"), least=1), "The builder's id: URLs, or globs."),
            "from": Key(
                ListOf(String(r"[a-z+]+://\S+", "the URL of a repository, or a glob"), least=1),
                "The source repository: URLs, or globs.",
            ),
            "branch": Key(
                ListOf(String(r"\S+", "a branch, refs/tags/NAME, or a glob"), least=1),
                "The branch, or refs/tags/NAME: names, or globs.",
            ),
            **KEYS,
        },
        _gate,
        expected="a build, as in {from: [https://github.com/rocketseat/widget-server], branch: [main]}",
        renamed={"from": "sources"},
    )

    def read(self, node: Node) -> BuiltGate:
        gate: BuiltGate = self._record.read(node)
        if not (gate.builders or gate.sources or gate.refs):
            raise node.wrong("expected at least one of by, from and branch")
        if gate.signers is None and isinstance(node.value, Mapping) and "roots" in node.value:
            raise node.wrong("roots is for identities: name them here too")
        return gate

    def schema(self) -> Schema:
        return {**self._record.schema(), "anyOf": [{"required": [key]} for key in ("by", "from", "branch")]}


GATE: Gate = Gate(
    _Built(),
    "A verified provenance must name an allowed builder, source repository and branch or tag.",
    judge,
)
