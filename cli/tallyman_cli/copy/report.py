"""The report of `tallyman copy`, as JSON or as text."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from tallyman.domain.names import Location
from tallyman.services.copying.images import Image, Report
from tallyman.values import value
from tallyman_cli.copy.progress import Counting
from tallyman_cli.shared import output
from tallyman_cli.shared.output import size


@value
class Done:
    """The result of a copy. `listed`: how many tags the source has; `seconds`: of the copy, without the start."""

    options: argparse.Namespace
    images: Sequence[Image]
    listed: int
    reports: Mapping[Location, Report]
    counting: Counting
    seconds: float

    def document(self) -> dict[str, Any]:
        """The form of `copy --json`."""
        return {
            "source": self.options.source,
            "images": [{"digest": image.digest, "tag": image.tag} for image in self.images],
            "listed": self.listed,
            "bytes_read": self.counting.bytes_read,
            "seconds": round(self.seconds, 3),
            "dry_run": self.options.dry_run,
            "targets": [_target(report, self.counting) for report in self.reports.values()],
        }

    def show(self) -> None:
        """Print what was copied on stdout, and errors on stderr."""
        read, speed = self.counting.bytes_read, self.counting.bytes_read / max(self.seconds, 0.001)
        if self.options.all_tags:
            tagged = sum(image.tag is not None for image in self.images)
            there = f"{self.listed - tagged} of them are there as they are"
            output.put(f"{output.counted(self.listed, 'tag')}, {'each asked for' if self.options.referrers else there}")
        for report in self.reports.values():
            self._show(report)
        if not self.options.dry_run:
            output.put(f"{size(read)} read once in {self.seconds:.2f} s, {size(int(speed))}/s")

    def _show(self, report: Report) -> None:
        count = self.counting.of(report.repository)
        if report.plan:
            plan = report.plan
            how = "would be mounted" if plan.mounts else "would travel"
            total = size(sum(plan.blobs.values()))
            blobs, manifests = output.counted(len(plan.blobs), "blob"), output.counted(len(plan.manifests), "manifest")
            output.put(f"{report.repository}: {total} in {blobs} {how}, {manifests}")
            for digest, bytes_ in sorted(plan.blobs.items(), key=lambda item: -item[1]):
                output.put(f"  {digest} {size(bytes_)}")
        elif not report.error and not self.options.dry_run:
            facts = [f"{size(count.sent)} in {output.counted(len(report.uploaded), 'blob')}"]
            facts += [f"{n} {w}" for n, w in ((count.skipped, "there"), (count.mounted, "mounted")) if n]
            facts.append(output.counted(len(report.pushed), "manifest"))
            output.put(f"{report.repository}: {', '.join(facts)}")
        for tag, digest in report.tagged.items():
            output.put(f"  {tag} {digest}")
        for referrer, why in report.refused_referrers.items():
            output.put(f"  referrer {referrer} is missing: {why}")
        for name, error in report.failed.items():
            output.trouble(f"tallyman: {report.repository}: {name}: {error}")
        if report.error:
            output.trouble(f"tallyman: {report.repository}: {report.error}")
        if any(error.code == _NO_REPOSITORY for error in (report.error, *report.failed.values()) if error):
            output.trouble(f"tallyman: {report.repository} does not exist: {self._creation(report)}")

    def _creation(self, report: Report) -> str:
        """The command that creates the missing repository, in the environment that the target names."""
        name = report.repository.name
        named = (text.partition("/")[0].partition("[")[0] for text in self.options.targets if text.endswith(f"/{name}"))
        environment = next((word for word in named if not {".", ":"} & set(word)), "ENVIRONMENT")
        return f"tallyman repository create {name} --in {environment}"


_NO_REPOSITORY = "RepositoryNotFoundException"


def _target(report: Report, counting: Counting) -> dict[str, Any]:
    count = counting.of(report.repository)
    plan = report.plan
    return {
        "target": str(report.repository),
        "verdict": "done" if report.ok else "failed",
        "error": str(report.error) if report.error else None,
        "failed": {name: str(error) for name, error in report.failed.items()},
        "tags": dict(report.tagged),
        "pushed": report.pushed,
        "uploaded": report.uploaded,
        "mounted": report.mounted,
        "skipped": count.skipped,
        "bytes_sent": count.sent,
        "refused_referrers": report.refused_referrers,
        "would_push": list(plan.manifests) if plan else None,
        "would_send": dict(plan.blobs) if plan else None,
        "would_mount": plan.mounts if plan else None,
    }
