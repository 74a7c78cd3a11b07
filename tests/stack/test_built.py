"""One push, from event to release, with the functions and the layer of `make build` instead of the checkout's."""

from pathlib import Path

import pytest

from support.images import builders as b
from support.stacks.deployed import ROOT, deployed
from tallyman.domain.history.facts import Kind

BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"

pytestmark = [
    pytest.mark.sam,
    pytest.mark.skipif(not BUILT.is_file(), reason="no .aws-sam/build: run `make build` first"),
]


def test_the_built_functions_record_verify_and_promote(tmp_path: Path) -> None:
    image = b.multi_arch("built")
    with deployed(tmp_path, scanner="clean", built=True) as system:
        system.push(image, "rocketseat/built", "v1.0.0")
        assert system.digests_in("rocketseat/built", "v1.0.0") == [image.digest, image.digest]
        assert system.facts(image.digest, Kind.PROMOTED)
        assert not system.dead_letters()
