"""Sets the tags of an image in every registry of an environment, once all content is there."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tallyman.domain.decide import Decision
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Repository
from tallyman.errors import RevisionConflict, TagTaken, TallymanError, TransientError
from tallyman.ports.registries import ImageTarget
from tallyman.services.promotion.targets import Targets, worst
from tallyman.services.shared.lease import Lease

_Tag = tuple[Repository, str]
_Answer = TypeVar("_Answer")


def tag_everywhere(
    target: ImageTarget,
    targets: Targets,
    decision: Decision,
    manifest: Manifest,
    places: Sequence[Repository],
    lease: Lease,
) -> None:
    """Set every tag of the decision in every place and read each back.

    PutImage has no condition: a worker that was suspended for longer than its lease may still set a tag. The caller
    sends hints so that the image whose tag it replaced is looked at again.
    """
    wanted = [(place, tag) for tag in decision.tags for place in places]

    def read(each: _Tag) -> bool:
        there = target.manifest(*each)
        return there is not None and there.digest == manifest.digest

    def put(each: _Tag) -> None:
        place, tag = each
        lease.check()
        try:
            target.put_manifest(place, manifest, tag)
        except TagTaken:
            targets.look(decision)  # records the conflict, so that the next decision names it
            raise
        if not read(each):
            raise TransientError(f"{place}:{tag} was set to {manifest.digest}, but does not read back as that")

    set_already = _each(read, wanted)  # raises before the first tag is set where a registry does not answer
    _each(put, [each for each in wanted if not set_already[each]])


def _each(do: Callable[[_Tag], _Answer], wanted: Sequence[_Tag]) -> dict[_Tag, _Answer]:
    """Call `do` for all of them at once and return the answers. Raises once all are done: RevisionConflict first."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        waiting = {each: pool.submit(do, each) for each in wanted}
    done: dict[_Tag, _Answer] = {}
    failures: dict[Repository, TallymanError] = {}
    for each, future in waiting.items():
        try:
            done[each] = future.result()
        except RevisionConflict:
            raise
        except TallymanError as error:
            failures.setdefault(each[0], error)
    if failures:
        raise worst(failures)
    return done
