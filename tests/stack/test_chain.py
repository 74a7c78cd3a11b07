"""A chain of three environments on the deployed stack, with renaming: an index with referrers reaches the last."""

from collections.abc import Iterator

import pytest

import support.images.builders as b
from support.stacks.deployed import Deployed, deployed, until
from tallyman.domain.history.facts import Kind
from tallyman.state.releases import RELEASES, key

POLICY = """\
environments:
  dev:     {registries: [111111111111/us-east-2]}
  staging: {registries: [111111111111/us-east-2], repository: "staging/{name}"}
  prod:    {registries: [222222222222/us-east-2, 222222222222/sa-east-1], repository: "prod/{name}"}
repositories:
  - match: rocketseat/*
    create: {immutable: true, scan_on_push: true}
    verify: {layers: content}
    promotions:
      - {from: dev, to: staging, tags: [semver], gates: {verified: true}}
      - {from: staging, to: prod, tags: [semver], gates: {verified: true, scan: {max: {critical: 0}}, attested: sbom}}
"""
NAME = "rocketseat/widget-server"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), POLICY, scanner="clean") as running:
        yield running


def test_an_index_with_its_referrers_is_promoted_from_dev_to_prod(system: Deployed) -> None:
    image = b.multi_arch("chained")
    sbom = b.sbom(image)
    system.push(image, NAME, settle=False)
    system.push(sbom, NAME, settle=False)
    system.push(image, NAME, "v1.0.0")
    assert until(lambda: system.digests_in(NAME, "v1.0.0") == [image.digest] * 2, "not in prod", system.cloud)
    assert system.digests_in(NAME, "v1.0.0", "staging") == [image.digest]
    assert system.digests_in(NAME, sbom.digest) == [sbom.digest] * 2
    assert until(
        lambda: system.why(NAME, "v1.0.0", source="staging").verdict == "promoted", "not promoted", system.cloud
    )
    gate = next(g for g in system.why(NAME, "v1.0.0", source="staging").gates if g.name == "verified")
    assert "when it was promoted from dev to staging" in gate.reason
    for environment in ("staging", "prod"):
        release = RELEASES.get(system.stack.state, key(environment, NAME))
        assert release is not None
        assert release.digest == image.digest
    assert len(system.facts(image.digest, Kind.PROMOTED)) == 2
    assert not system.facts(image.digest, Kind.STOWAWAY)
    levels = {f.detail["level"] for f in system.facts(image.digest, Kind.VERIFIED) if "staging/" in str(f.repository)}
    assert levels == {"presence"}  # read once, in dev
