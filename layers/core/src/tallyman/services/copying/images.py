"""Copies images with their tags from one repository to several, whatever registries these are.

All content goes to every target first, then the tags: a tag appears once everything that it names is there. Failures
are isolated: a failed target or a damaged image does not stop the others.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import NotFound, TagTaken, TallymanError, TransientError
from tallyman.ports.clocks import Deadline
from tallyman.ports.copying import Destination, InParts, Origin
from tallyman.services.copying.stage import (
    CopyOptions,
    CopyProgress,
    Held,
    ImageGraph,
    Staged,
    ask_ahead,
    read_graphs,
    stage,
)
from tallyman.services.copying.survey import Survey, survey
from tallyman.services.copying.target_copy import PUTS
from tallyman.values import value

NOBODY: Mapping[Location, TallymanError] = {}

BATCH = 200
"""Images that are copied together: what they share is copied once, and their manifests are held in memory."""

SOON = 1.0
"""Seconds to wait for the answers of several targets that were requested while the source was read. `stage` repeats
the request to a target that has not answered by then."""


@value
class Image:
    """One image to copy. `tag` None: no tag is set. `unseen`: no target has the tag, so no target is asked whether it
    has the image."""

    digest: Digest
    tag: str | None
    manifest: Manifest | None = None
    unseen: bool = False


@dataclass(slots=True)
class Report:
    """The result of the copy to one target, over all images. `failed`: errors by tag or digest."""

    repository: Location
    pushed: list[Digest] = field(default_factory=list)
    uploaded: list[Digest] = field(default_factory=list)
    mounted: list[Digest] = field(default_factory=list)
    refused_referrers: dict[str, str] = field(default_factory=dict)
    tagged: dict[str, Digest] = field(default_factory=dict)
    there: list[Digest] = field(default_factory=list)
    failed: dict[str, TallymanError] = field(default_factory=dict)
    error: TallymanError | None = None
    plan: Survey | None = None

    @property
    def ok(self) -> bool:
        """Whether every image, referrer and tag is there."""
        return not (self.error or self.failed or self.refused_referrers)


@value(slots=False)
class CopyImages:
    """Copies images. `keep_tags`: a tag that names another image is not moved; `parallel`: blobs at once (None:
    measured); `empty`: targets that are known to have no tag; `seconds`: the round trip to the nearest target; `parts`:
    uploads of large blobs that outlive the run."""

    source: Origin
    target: Destination
    deadline: Deadline
    watch: CopyProgress
    keep_tags: bool = False
    parallel: int | None = None
    empty: Collection[Location] = ()
    seconds: float = 0.0
    parts: InParts | None = None

    def resolve(self, repository: Location, reference: str, tag: str | None) -> Image:
        """Read the image that a tag or digest names. NotFound."""
        found = self.source.manifests(repository, [reference]).get(reference)
        if found is None:
            raise NotFound(f"{repository.at(_reference(reference))} is not there")
        return Image(found.digest, tag, found)

    def copy(
        self,
        origin: Location,
        targets: Mapping[Location, str | None],
        images: Sequence[Image],
        failed: Mapping[Location, TallymanError] = NOBODY,
    ) -> dict[Location, Report]:
        """Copy the images to every target. `targets`: each with the tag to set there instead of the image's own.
        `failed`: targets that failed before, with their errors: they are left out."""
        reports = {target: Report(target, error=failed.get(target)) for target in targets}
        for start in range(0, len(images), BATCH):
            self._batch(origin, targets, images[start : start + BATCH], reports)
        return reports

    def plan(
        self,
        origin: Location,
        targets: Mapping[Location, str | None],
        images: Sequence[Image],
        failed: Mapping[Location, TallymanError] = NOBODY,
    ) -> dict[Location, Report]:
        """Report what `copy` would copy, and write nothing. Blobs that two batches share are counted once."""
        reports = {target: Report(target, error=failed.get(target)) for target in targets}
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            members, errors = self._graphs(origin, batch)
            for report in reports.values():
                report.failed.update(_named(errors, batch, targets[report.repository]))
            if members is None:
                continue
            asked = [target for target in targets if target not in failed]
            for place, found in survey(origin, self.target, asked, members, deadline=self.deadline).items():
                report = reports[place]
                if isinstance(found, TallymanError):
                    report.error = found
                    continue
                report.refused_referrers.update(members.unreadable)
                if report.plan:
                    report.plan.add(found)
                else:
                    report.plan = found
        return reports

    def _graphs(
        self, origin: Location, batch: Sequence[Image]
    ) -> tuple[ImageGraph | None, dict[Digest, TallymanError]]:
        known = {image.digest: image.manifest for image in batch if image.manifest}
        digests = [image.digest for image in batch]
        return read_graphs(self.source, origin, digests, known=known, deadline=self.deadline)

    def _batch(
        self,
        origin: Location,
        targets: Mapping[Location, str | None],
        batch: Sequence[Image],
        reports: Mapping[Location, Report],
    ) -> None:
        alive = [target for target, report in reports.items() if not report.error]
        if not alive:
            return
        pool = ThreadPoolExecutor(len(alive), thread_name_prefix="ahead")
        try:
            asking = self._ask_ahead(pool, alive, targets, batch)
            members, errors = self._graphs(origin, batch)
            wait(asking.values(), None if len(alive) == 1 else SOON)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        done = {target: answer for target, answer in asking.items() if answer.done() and not answer.cancelled()}
        asked = {target: answer.result() for target, answer in done.items() if not answer.exception()}
        for target, report in reports.items():
            report.failed.update(_named(errors, batch, targets[target]))
        if members is None:
            return
        whole = [image for image in batch if image.digest not in errors]
        options = CopyOptions(
            self.deadline,
            self.parallel,
            self.parts,
            self.watch,
            tags=self._at_once(targets, whole),
            unseen={image.digest for image in whole if image.unseen},
            empty=[target for target in alive if target in self.empty],
            held={target: held for target, (held, _) in asked.items()},
            seconds=min((seconds for _, seconds in asked.values()), default=self.seconds),
        )
        staged = stage(self.source, origin, self.target, alive, members, options)
        ready = [target for target, outcome in staged.items() if isinstance(outcome, Staged)]
        for target, outcome in staged.items():
            report = reports[target]
            if isinstance(outcome, Staged):
                _add(report, outcome, whole, targets[target])
            elif len(members.roots) == 1 and not outcome.retryable:
                report.failed.update(_named({members.digest: outcome}, whole, targets[target]))
            else:
                report.error = outcome
        named = set(members.roots)
        roots = {m.digest: m for m in members.images if m.digest in named}
        with ThreadPoolExecutor(len(targets), thread_name_prefix="tags") as pool:
            tagging = {t: pool.submit(self._tag, reports[t], whole, roots, targets[t]) for t in ready}
        for target, tagged in tagging.items():
            try:
                tagged.result()
            except TallymanError as error:
                reports[target].error = error

    def _ask_ahead(
        self,
        pool: ThreadPoolExecutor,
        alive: Sequence[Location],
        targets: Mapping[Location, str | None],
        batch: Sequence[Image],
    ) -> dict[Location, "Future[tuple[Held, float]]"]:
        """Ask the targets for a single image while it is read from the source. `stage` repeats a request that
        failed."""
        if len(batch) > 1 or batch[0].unseen:
            return {}
        [image] = batch
        name = self._at_once(targets, batch).get(image.digest, image.digest)
        return {target: pool.submit(ask_ahead, self.target, target, name) for target in alive}

    def _at_once(self, targets: Mapping[Location, str | None], batch: Sequence[Image]) -> dict[Digest, str]:
        """Roots that may be put under their tag at once: with one target there is no other to wait for."""
        if len(targets) > 1 or self.keep_tags:
            return {}
        [target] = targets
        return {image.digest: tag for image in reversed(batch) if (tag := targets[target] or image.tag)}

    def _tag(
        self, report: Report, batch: Sequence[Image], roots: Mapping[Digest, Manifest], instead: str | None
    ) -> None:
        """Set the missing tags and read them back."""
        wanted = {
            tag: image.digest
            for image in batch
            if (tag := instead or image.tag) and tag not in report.failed and tag not in report.tagged
        }
        if not wanted:
            return
        place = report.repository
        now = self.target.manifests(place, list(wanted))
        moves = {tag: digest for tag, digest in wanted.items() if tag not in now or now[tag].digest != digest}

        def move(tag: str, digest: Digest) -> None:
            if self.keep_tags and tag in now:
                raise TagTaken(f"{place}:{tag} names {now[tag].digest}, and is to be kept: {digest} gets no tag")
            self.target.put_manifest(place, roots[digest], tag)

        with ThreadPoolExecutor(PUTS, thread_name_prefix="tag") as pool:
            setting = {tag: pool.submit(move, tag, digest) for tag, digest in moves.items()}
        for tag, done in setting.items():
            error = done.exception()
            if error is None:
                continue
            if not isinstance(error, TallymanError) or error.retryable:
                raise error
            report.failed[tag] = error
            del moves[tag]
        then = self.target.manifests(place, list(moves)) if moves else {}
        for tag, digest in moves.items():
            if tag not in then or then[tag].digest != digest:
                found = then[tag].digest if tag in then else "nothing"
                raise TransientError(f"{place}:{tag} was set to {digest}, but reads back as {found}")
        report.tagged.update((tag, digest) for tag, digest in wanted.items() if tag not in report.failed)


def _add(report: Report, staged: Staged, batch: Sequence[Image], instead: str | None) -> None:
    report.pushed += staged.pushed
    report.uploaded += staged.uploaded
    report.mounted += staged.mounted
    report.refused_referrers.update(staged.refused_referrers)
    report.failed.update(_named(staged.failed, batch, instead))
    report.tagged.update((tag, digest) for digest, tag in staged.tagged.items())
    pushed = set(staged.pushed)
    report.there += [i.digest for i in batch if i.digest not in pushed and i.digest not in staged.failed]


def _named(
    errors: Mapping[Digest, TallymanError], batch: Sequence[Image], instead: str | None
) -> dict[str, TallymanError]:
    """The errors by the tag of the image, or by its digest where it has none."""
    return {(instead or i.tag or str(i.digest)): errors[i.digest] for i in batch if i.digest in errors}


def _reference(text: str) -> str:
    return Digest(text) if text.startswith("sha256:") else text
