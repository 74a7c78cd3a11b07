"""`tallyman audit ledger`: checks the ledger against its seal, and exports it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tallyman.domain.names import Digest
from tallyman.services.sealing.check_ledger import Flaw, FlawKind, OnEntry, Proof
from tallyman_cli.audit.export import Export
from tallyman_cli.audit.finding import Finding
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.options import option

_FALSIFIED = "what the ledger says of an image may be false, and decisions rest on it"
_RESTORE = "restore the table to a moment before (docs/security.md), compare, and ask CloudTrail who wrote to it"
_LOST = "what a lost segment named is not proven any more"
_VERSIONS = "the bucket is versioned: look at the object's versions, and at who wrote the last one"
ADVICE: dict[FlawKind, tuple[str, str]] = {
    FlawKind.ENTRY_ALTERED: (_FALSIFIED, _RESTORE),
    FlawKind.ENTRY_REMOVED: (_FALSIFIED, _RESTORE),
    FlawKind.ENTRY_INSERTED: (_FALSIFIED, _RESTORE),
    FlawKind.ENTRY_HIDDEN: ("no code of ours writes such an entry: it would never be sealed", _RESTORE),
    FlawKind.SEGMENT_ALTERED: ("who can change the seal can hide what was changed in the ledger", _VERSIONS),
    FlawKind.SEGMENT_MISSING: (_LOST, f"{_VERSIONS}; remove the delete marker"),
    FlawKind.CHAIN_CUT: (_LOST, f"{_VERSIONS}; heads that you wrote down elsewhere show what is missing"),
    FlawKind.NOT_SEALED: (
        "what is not sealed can be changed without a trace",
        "does reconcile run? its report says why it did not seal (docs/operations.md)",
    ),
}
"""Why each matters, and what to do."""

Head = Annotated[
    str | None, option("--head DIGEST", "The head that an earlier run printed; the chain must still contain it.")
]
To = Annotated[Path | None, option("--export FILE", "Write every entry to FILE: JSON Lines (.jsonl) or CSV (.csv).")]


@options.on_stack
def ledger(head: Head = None, export: To = None) -> None:
    """Check the seal of the ledger.

    Proves that no entry was altered, removed or inserted after it was sealed, or names those that were. `reconcile`
    seals entries in the order of their arrival, in segments that name each other by hash. This command reads the
    segments and the whole table with your own credentials.

    Exit status: 0 the seal holds; 1 it does not; 2 bad input.
    """
    expected = Digest.parse(head) if head is not None else None
    opened = context.connect()
    check = opened.check_ledger()
    with _exporting(export) as write:
        proof = check.run(expected, write)
    found = [_finding(flaw) for flaw in proof.flaws]
    if output.is_json():
        output.data(_json(proof, found))
    else:
        _show(proof, found)
    if found:
        raise typer.Exit(1)


@contextmanager
def _exporting(path: Path | None) -> Iterator[OnEntry | None]:
    """The function that writes each entry to the file, which gets its name at the end; None where no file is asked
    for."""
    if path is None:
        yield None
        return
    with Export.opened(path) as export:
        yield export.write
    output.say(f"wrote {output.counted(export.count, 'entry', 'entries')} to {path}")


def _finding(flaw: Flaw) -> Finding:
    why, todo = ADVICE[flaw.kind]
    return Finding(flaw.kind, flaw.what, flaw.where, flaw.since, why, todo)


def _json(proof: Proof, found: list[Finding]) -> dict[str, Any]:
    head = proof.head
    return {
        "findings": [each.as_json for each in found],
        "more": proof.more,
        "entries": proof.entries,
        "sealed": proof.sealed,
        "waiting": proof.waiting,
        "unproven": proof.unproven,
        "segments": proof.segments,
        "head": {"number": head.number, "digest": head.digest, "until": output.time(head.until)} if head else None,
    }


def _show(proof: Proof, found: list[Finding]) -> None:
    for each in found:
        since = f" (whole until {output.when(each.since)})" if each.since and each.kind != "entry_inserted" else ""
        output.line(f"✗ {each.kind}: {each.what}{since}")
        output.line(f"    {each.where}: {each.why}")
        output.line(f"    → {each.todo}")
    if proof.more:
        output.line(f"… and {proof.more} more")
    entries, segments = output.counted(proof.entries, "entry", "entries"), output.counted(proof.segments, "segment")
    counts = f"{entries}: {proof.sealed} sealed in {segments}"
    waiting = f", {proof.waiting} for the next run of reconcile" if proof.waiting else ""
    unproven = f", {proof.unproven} not proven because a segment is missing" if proof.unproven else ""
    output.line(f"{'✗' if found else '✓'} {counts}{waiting}{unproven}")
    if proof.head is not None:
        output.line(f"head: {proof.head.digest}, segment {proof.head.number}, {output.when(proof.head.until)}")
