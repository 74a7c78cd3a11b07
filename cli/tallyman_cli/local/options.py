"""Options of `tallyman local …`, and their parsers."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from tallyman.errors import BadInput
from tallyman_cli.shared.options import option


class ScannerMode(StrEnum):
    """Who completes scans."""

    manual = "manual"
    clean = "clean"


PolicyOption = Annotated[Path | None, option("--policy FILE", "The policy in force; without it, the demo's policy.")]
ScannerOption = Annotated[
    ScannerMode,
    option(
        "--scanner", "manual: scans wait for `tallyman local scan`; clean: scans complete at once, without findings."
    ),
]
QuotaOption = Annotated[
    list[str] | None,
    option("--quota NAME=N", "Limit an ECR operation to N calls a second, such as PutImage=10; may be repeated."),
]
DataOption = Annotated[
    Path | None, option("--data DIR", "Keep the registries in this folder; without it, nothing is kept.")
]
BuiltOption = Annotated[bool, option("--built", "Run the functions from the output of `make build`.")]


def parse_quotas(texts: list[str] | None) -> dict[str, float]:
    """Calls a second by name, from `--quota NAME=N`. Raises BadInput."""
    quotas = {}
    for text in texts or []:
        name, _, number = text.partition("=")
        try:
            quotas[name] = float(number)
        except ValueError:
            raise BadInput(f"--quota {text}: expected NAME=N, as in PutImage=10") from None
    return quotas


def parse_finding(text: str) -> dict[str, str]:
    """Name and severity, from `--finding CVE:SEVERITY`. Raises BadInput."""
    name, _, severity = text.rpartition(":")
    if not name or not severity:
        raise BadInput(f"--finding {text}: expected CVE:SEVERITY, as in CVE-2026-1234:HIGH")
    return {"name": name, "severity": severity.upper()}


def parse_delay(text: str) -> float:
    """Seconds, from `--delay 500ms`, 2s, 1m or 1h. Raises BadInput."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit in ("ms", "s", "m", "h"):
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdecimal():
            return float(number) * units[unit]
    raise BadInput(f"--delay {text}: expected a number and a unit, as in 500ms, 2s or 1m")
