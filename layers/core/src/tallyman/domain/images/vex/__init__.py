"""VEX: statements whether a vulnerability affects an image, in the formats of OpenVEX and CycloneDX.

A document is only as trustworthy as its signer: no statement counts before the signature was verified.
"""

from dataclasses import field

from tallyman.domain.images.documents import Json
from tallyman.domain.images.vex.cyclonedx import author_of, cyclonedx
from tallyman.domain.images.vex.openvex import openvex
from tallyman.domain.images.vex.statements import VexStatement, items, text
from tallyman.values import value

__all__ = ["Vex", "VexStatement", "is_vex", "vex"]

OPENVEX = "https://openvex.dev/ns"
CYCLONEDX = "https://cyclonedx.org/bom"
MOST, LARGEST = 2000, 1024 * 1024
"""The most statements of a document, and characters of them. A larger document is refused as a whole: the statements
that would be left out could be the ones that matter."""


def is_vex(predicate: str | None) -> bool:
    """Whether a document of this predicate type may be VEX. CycloneDX's SBOMs and VEX have the same type."""
    kind = predicate or ""
    return any(kind == each or kind.startswith(f"{each}/") for each in (OPENVEX, CYCLONEDX))


@value
class Vex:
    """A VEX document. `flaw`: why its statements are not read; None: they are."""

    author: str | None = None
    statements: tuple[VexStatement, ...] = field(default_factory=tuple)
    flaw: str | None = None


def vex(kind: str, predicate: Json, image: str) -> Vex | None:
    """Read what a predicate of the type `kind` states about the image (`sha256:<hex>`); None: it is not VEX."""
    if not is_vex(kind):
        return None
    is_open = kind.startswith(OPENVEX)
    listed = items(predicate, "statements" if is_open else "vulnerabilities")
    author = text(predicate.get("author") if is_open else author_of(predicate))
    if len(listed) > MOST:
        return Vex(author, (), f"it has {len(listed)} statements, more than {MOST}")
    found: dict[VexStatement, None] = {}
    size = 0
    for each in (openvex if is_open else cyclonedx)(predicate, listed, image):
        size += 0 if each in found else len(each.because) + sum(map(len, (*each.ids, *each.parts)))
        found[each] = None
        if size > LARGEST or len(found) > MOST:
            return Vex(author, (), "its statements are too long or too many")
    return Vex(author, tuple(found))
