"""Staging of image graphs: what reaches the targets, in which order, at what cost, and the state after a failure."""

import json
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from support.fakes.ports import Crash, CrashAfter, FakeClock, FakeRegistries
from support.images.builders import (
    DEV,
    PROD,
    PROD_SA,
    Built,
    attestation,
    big_layer,
    digest_of,
    foreign_layer,
    image,
    index,
    layer,
    manifest_of,
    multi_arch,
    referrer,
    sbom,
    signature,
)
from tallyman.domain.images.manifest import MAX_NESTING, OCI_INDEX, Manifest
from tallyman.domain.names import Digest, Location, Repository
from tallyman.errors import (
    BadManifest,
    DigestMismatch,
    NotAllowed,
    NotFound,
    OutOfTime,
    TallymanError,
    Unreachable,
    Unsupported,
)
from tallyman.ports.copying import BlobStream
from tallyman.services.copying import tee
from tallyman.services.copying.blobs import RESERVE
from tallyman.services.copying.stage import CopyOptions, Staged, read_graph, stage

SAME_REGISTRY = Repository(DEV.registry, "prod/widget-server")


def forever() -> float:
    return float("inf")


@pytest.fixture
def registries() -> FakeRegistries:
    made = FakeRegistries(FakeClock(), chunk=1024)
    for repository in (DEV, PROD, PROD_SA, SAME_REGISTRY):
        made.add(repository)
    return made


def copy(
    registries: FakeRegistries, built: Built, *targets: Repository, **more: Any
) -> dict[Repository, Staged | TallymanError]:
    members = read_graph(registries, DEV, built.digest)
    return stage(registries, DEV, registries, targets, members, CopyOptions(**{"deadline": forever, **more}))


def calls(registries: FakeRegistries, repository: Location) -> list[str]:
    return [method for method, where, _ in registries.requests if where == repository]


def holds(registries: FakeRegistries, repository: Location, *builts: Built) -> bool:
    held = registries.held(repository)
    manifests = {d: m.raw for built in builts for d, m in built.manifests.items()}
    blobs = {d: raw for built in builts for d, raw in built.blobs.items()}
    return {d: m.raw for d, m in held.manifests.items()} == manifests and held.blobs == blobs


def staged(outcome: Mapping[Repository, Staged | TallymanError], repository: Repository) -> Staged:
    found = outcome[repository]
    assert isinstance(found, Staged), found
    return found


# --- the graph


def test_an_image_graph_is_ordered_bottom_up(registries: FakeRegistries) -> None:
    child = image("a")
    inner = index(child, attestation(child))
    root = index(inner, image("b", architecture="arm64"))
    signed = signature(root)
    resigned = signature(signed, "of the signature")
    for built in (root, signed, resigned, sbom(child)):
        registries.push(DEV, built)
    members = read_graph(registries, DEV, root.digest)
    assert members.root.raw == root.raw
    assert members.digests.index(child.digest) < members.digests.index(inner.digest)
    assert members.digests.index(inner.digest) < members.digests.index(root.digest)
    assert members.digests.index(root.digest) < members.digests.index(signed.digest)
    assert members.digests.index(signed.digest) < members.digests.index(resigned.digest)
    assert {m.digest for m in members.referrers} == {signed.digest, resigned.digest, sbom(child).digest}
    assert len(members.digests) == len(set(members.digests)) == 5 + 3
    everything = {**root.blobs, **signed.blobs, **resigned.blobs, **sbom(child).blobs}
    assert set(members.blobs) == set(everything)
    assert sum(blob.size for blob in members.blobs.values()) == sum(map(len, everything.values()))


def test_circular_referrers_terminate(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    signed = signature(built)
    registries.push(DEV, signed)
    listed = registries.referrers(DEV, built.digest)
    registries.referrers = lambda repository, subject: listed  # type: ignore[method-assign]
    assert read_graph(registries, DEV, built.digest).digests == (built.digest, signed.digest)


def test_a_referrer_that_disappeared_is_left_out(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    registries.push(DEV, signature(built))
    listed = registries.referrers(DEV, built.digest)
    registries.delete(DEV, signature(built).digest)
    registries.referrers = lambda repository, subject: listed  # type: ignore[method-assign]
    assert read_graph(registries, DEV, built.digest).referrers == ()


def test_without_the_referrers_api_an_image_graph_has_no_referrers(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    registries.fail(DEV.registry, Unsupported("405"), methods={"referrers"})
    assert read_graph(registries, DEV, built.digest).digests == (built.digest,)


def test_an_image_graph_with_a_missing_child_is_not_found(registries: FakeRegistries) -> None:
    child = image("a")
    built = index(child)
    registries.push(DEV, built)
    registries.delete(DEV, child.digest)
    with pytest.raises(NotFound, match=child.digest):
        read_graph(registries, DEV, built.digest)


def test_an_image_graph_with_wrong_bytes_is_a_mismatch(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    registries.held(DEV).manifests[built.digest] = image("b").root
    with pytest.raises(DigestMismatch, match=built.digest):
        read_graph(registries, DEV, built.digest)


def test_a_too_deeply_nested_image_graph_is_refused(registries: FakeRegistries) -> None:
    built = image("deep")
    for _ in range(MAX_NESTING + 1):
        built = index(built)
    registries.push(DEV, built)
    with pytest.raises(BadManifest, match=f"more than {MAX_NESTING} deep"):
        read_graph(registries, DEV, built.digest)


def test_indexes_that_list_one_index_many_times_take_no_memory(registries: FakeRegistries) -> None:
    built = image("deep")
    for _ in range(3):
        built = index(*[built] * 200)  # 8 million ways down to the image
    registries.push(DEV, built)
    tracemalloc.start()
    try:
        outcome = copy(registries, built, PROD)
        assert tracemalloc.get_traced_memory()[1] < 32_000_000
    finally:
        tracemalloc.stop()
    assert isinstance(outcome[PROD], Staged)
    assert holds(registries, PROD, built)


def test_a_long_chain_under_a_flat_index_is_refused(registries: FakeRegistries) -> None:
    chain = [image("deep")]
    for _ in range(MAX_NESTING + 1):
        chain.append(index(chain[-1]))
    built = index(*reversed(chain))
    registries.push(DEV, built)
    with pytest.raises(BadManifest, match="nested more than"):
        read_graph(registries, DEV, built.digest)


def test_an_index_that_lists_itself_terminates(registries: FakeRegistries) -> None:
    class Lying(Manifest):
        @property
        def digest(self) -> Digest:
            return digest_of("loop")

    raw = f'{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_INDEX}","digest":"{digest_of("loop")}","size":1}}]}}'
    registries.held(DEV).manifests[digest_of("loop")] = Lying(raw.encode(), OCI_INDEX)
    members = read_graph(registries, DEV, digest_of("loop"))
    assert len(members.manifests) == 1


# --- staging


def test_an_image_graph_reaches_every_target_byte_by_byte_and_without_a_tag(registries: FakeRegistries) -> None:
    built = multi_arch(attested=True)
    signed, listed = signature(built), sbom(image("x"))
    registries.push(DEV, built, "v1.0.0")
    registries.push(DEV, signed)
    registries.pushes.clear()
    outcome = copy(registries, built, PROD, PROD_SA)
    assert list(outcome) == [PROD, PROD_SA]
    for target in (PROD, PROD_SA):
        assert holds(registries, target, built, signed)
        assert registries.held(target).tags == {}
        assert set(staged(outcome, target).pushed) == {*built.manifests, signed.digest}
        assert set(staged(outcome, target).uploaded) == {*built.blobs, *signed.blobs}
    assert listed.digest not in registries.held(PROD).manifests
    assert all(tag is None for _, _, tag in registries.pushes)


def test_manifests_are_put_bottom_up(registries: FakeRegistries) -> None:
    inner = multi_arch("inner", attested=True)
    built = index(inner, image("other", architecture="s390x"))
    signed = signature(built)
    registries.push(DEV, built)
    registries.push(DEV, signed)
    registries.pushes.clear()
    copy(registries, built, PROD)  # the fake refuses a manifest whose blobs or children are missing
    order = [digest for _, digest, _ in registries.pushes]
    assert order[-2:] == [built.digest, signed.digest]
    assert len(order) == len(set(order)) == 8


def test_a_blob_is_read_once_however_many_targets_lack_it(registries: FakeRegistries) -> None:
    built = multi_arch(attested=True)
    registries.push(DEV, built)
    copy(registries, built, PROD, PROD_SA)
    opened = [argument for method, _, argument in registries.requests if method == "open_blob"]
    assert sorted(opened) == sorted(built.blobs)


def test_an_existing_image_costs_one_request(registries: FakeRegistries) -> None:
    built = multi_arch(attested=True)
    registries.push(DEV, built, "v1.0.0")
    copy(registries, built, PROD, PROD_SA)
    registries.requests.clear()
    outcome = copy(registries, built, PROD, PROD_SA)
    for target in (PROD, PROD_SA):
        assert calls(registries, target) == ["manifests"]
        assert staged(outcome, target).was_there


def test_an_existing_image_with_referrers_costs_one_request(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    registries.push(DEV, signature(built))
    registries.push(DEV, sbom(built))
    copy(registries, built, PROD)
    registries.requests.clear()
    assert staged(copy(registries, built, PROD), PROD).was_there
    assert calls(registries, PROD) == ["manifests"]


def test_only_missing_layers_are_copied(registries: FakeRegistries) -> None:
    base = layer("base")
    first, second = image(base, "one"), image(base, "two")
    registries.push(DEV, first)
    registries.push(DEV, second)
    copy(registries, first, PROD)
    outcome = copy(registries, second, PROD)
    assert set(staged(outcome, PROD).uploaded) == set(second.blobs) - {base.digest}


def test_a_later_signature_is_copied_alone(registries: FakeRegistries) -> None:
    built = multi_arch()
    registries.push(DEV, built)
    copy(registries, built, PROD)
    signed = signature(built)
    registries.push(DEV, signed)
    outcome = copy(registries, built, PROD)
    assert staged(outcome, PROD).pushed == (signed.digest,)
    assert set(staged(outcome, PROD).uploaded) == set(signed.blobs)


def test_blobs_are_mounted_within_a_registry(registries: FakeRegistries) -> None:
    built = multi_arch()
    registries.push(DEV, built)
    outcome = copy(registries, built, SAME_REGISTRY, PROD)
    assert set(staged(outcome, SAME_REGISTRY).mounted) == set(built.blobs)
    assert staged(outcome, SAME_REGISTRY).uploaded == ()
    assert staged(outcome, PROD).mounted == ()
    assert holds(registries, SAME_REGISTRY, built)


def test_a_blob_that_the_registry_does_not_mount_is_uploaded(registries: FakeRegistries) -> None:
    built = multi_arch()
    registries.push(DEV, built)
    registries.mounting = False
    outcome = copy(registries, built, SAME_REGISTRY)
    assert set(staged(outcome, SAME_REGISTRY).uploaded) == set(built.blobs)
    assert calls(registries, SAME_REGISTRY).count("mount") == 1


def test_foreign_layers_are_copied_only_if_the_source_has_them(registries: FakeRegistries) -> None:
    far, near = foreign_layer("far"), foreign_layer("near")
    built = image(far, near, "own")
    registries.push(DEV, built)
    registries.damage(DEV, near.digest, near.raw)
    outcome = copy(registries, built, PROD)
    assert set(staged(outcome, PROD).uploaded) == {*built.blobs, near.digest}


def test_a_referrer_that_the_target_refuses_does_not_stop_the_copy(registries: FakeRegistries) -> None:
    built = image("a")
    strange = referrer(built, "application/vnd.example.strange+json")
    registries.push(DEV, built)
    registries.push(DEV, strange)
    registries.push(DEV, signature(built))
    registries.unsupported = {"application/vnd.example.strange+json"}
    outcome = staged(copy(registries, built, PROD), PROD)
    assert list(outcome.refused_referrers) == [strange.digest]
    assert "takes no" in outcome.refused_referrers[strange.digest]
    assert set(outcome.pushed) == {built.digest, signature(built).digest}


def test_an_image_that_the_target_refuses_is_that_targets_error(registries: FakeRegistries) -> None:
    built = image("a", artifact_type="application/vnd.example.strange+json")
    registries.push(DEV, built)
    registries.unsupported = {"application/vnd.example.strange+json"}
    assert isinstance(copy(registries, built, PROD)[PROD], Unsupported)


# --- failures


def test_a_target_that_does_not_answer_does_not_stop_the_others(registries: FakeRegistries) -> None:
    built = multi_arch(attested=True)
    registries.push(DEV, built)
    registries.fail(PROD_SA.registry)
    outcome = copy(registries, built, PROD_SA, PROD)
    assert isinstance(outcome[PROD_SA], Unreachable)
    assert holds(registries, PROD, built)
    registries.heal()
    assert isinstance(copy(registries, built, PROD_SA, PROD)[PROD_SA], Staged)
    assert holds(registries, PROD_SA, built)


@pytest.mark.parametrize("method", ["manifests", "missing_blobs", "upload", "put_manifest"])
@pytest.mark.parametrize("error", [Unreachable("no answer"), NotAllowed("no permission")])
def test_a_failing_call_is_the_error_of_its_target_only(
    registries: FakeRegistries, method: str, error: TallymanError
) -> None:
    built = multi_arch()
    registries.push(DEV, built)
    registries.fail(PROD_SA.registry, error, methods={method})
    outcome = copy(registries, built, PROD, PROD_SA)
    assert outcome[PROD_SA] is error
    assert holds(registries, PROD, built)


def test_a_target_whose_upload_breaks_catches_up_alone(registries: FakeRegistries) -> None:
    built = image(big_layer(20_000))
    registries.push(DEV, built)
    registries.fail(PROD_SA.registry, methods={"upload"}, times=1)
    outcome = copy(registries, built, PROD, PROD_SA)
    assert isinstance(outcome[PROD_SA], Staged)
    assert holds(registries, PROD, built)
    assert holds(registries, PROD_SA, built)


def test_a_slow_target_does_not_delay_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(FakeRegistries):
        """PROD_SA accepts nothing until PROD has everything."""

        done = threading.Event()

        def upload(self, repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
            if repository == PROD_SA:
                assert self.done.wait(60), "the other target was held up"
            super().upload(repository, digest, size, chunks)

        def put_manifest(self, repository: Location, manifest: Manifest, tag: str | None = None) -> None:
            super().put_manifest(repository, manifest, tag)
            if repository == PROD and manifest.digest == built.digest:
                self.done.set()

    monkeypatch.setattr(tee, "PATIENCE", 0.02)
    registries = Slow(FakeClock(), chunk=1024)
    for repository in (DEV, PROD, PROD_SA):
        registries.add(repository)
    built = index(*[image(big_layer(30_000, seed), architecture=f"a{seed}") for seed in range(6)])
    registries.push(DEV, built)
    Slow.done.clear()
    outcome = copy(registries, built, PROD, PROD_SA, parallel=2)
    assert all(isinstance(found, Staged) for found in outcome.values()), outcome
    assert holds(registries, PROD, built)
    assert holds(registries, PROD_SA, built)


def test_a_damaged_blob_of_the_source_is_completed_nowhere(registries: FakeRegistries) -> None:
    part = big_layer(5_000)
    built = image(part, "other")
    registries.push(DEV, built)
    damaged = part.raw[:-1] + bytes([part.raw[-1] ^ 1])
    registries.damage(DEV, part.digest, damaged)

    taken: list[bytes] = []
    upload = registries.upload

    def kept(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            taken.append(chunk)
            yield chunk

    def watched(repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        if digest == part.digest:
            chunks = kept(chunks)
        upload(repository, digest, size, chunks)

    registries.upload = watched  # type: ignore[method-assign]
    outcome = copy(registries, built, PROD, PROD_SA)
    for target in (PROD, PROD_SA):
        assert isinstance(outcome[target], DigestMismatch)
        assert part.digest in str(outcome[target])
        assert Digest.of(damaged) in str(outcome[target])
        assert part.digest not in registries.held(target).blobs
        assert registries.held(target).manifests == {}
    assert sum(map(len, taken)) < 2 * len(damaged)  # the last chunk was delivered to no target


def test_a_blob_of_another_size_than_declared_is_completed_nowhere(registries: FakeRegistries) -> None:
    part = big_layer(5_000)
    built = image(part)
    registries.push(DEV, built)
    registries.damage(DEV, part.digest, part.raw + b"more")
    assert isinstance(copy(registries, built, PROD)[PROD], DigestMismatch)
    assert registries.held(PROD).manifests == {}


@pytest.mark.parametrize("announced", [True, False])
def test_a_referrer_that_states_another_size_of_a_layer_is_left_out(
    registries: FakeRegistries, announced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = image("one")
    registries.push(DEV, built)
    [config, shared] = json.loads(built.raw)["config"], json.loads(built.raw)["layers"][0]
    document = json.loads(signature(built).raw)
    root = manifest_of({**document, "layers": [{**shared, "size": 3}]})
    registries.push(DEV, Built(root, {root.digest: root}, signature(built).blobs))
    if not announced:
        whole = registries.open_blob

        @contextmanager
        def opened(*arguments: Any) -> Iterator[BlobStream]:
            with whole(*arguments) as stream:
                stream.size = None
                yield stream

        monkeypatch.setattr(registries, "open_blob", opened)
    graph = read_graph(registries, DEV, built.digest)
    assert graph.referrers == ()
    assert str(shared["size"]) in graph.unreadable[root.digest]
    assert graph.blobs.keys() == {config["digest"], shared["digest"]}
    assert graph.blobs[shared["digest"]].size == shared["size"]


def test_a_source_that_does_not_answer_is_an_error_of_every_target(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    registries.fail(DEV.registry, Unreachable("the source is away"), methods={"open_blob"})
    outcome = copy(registries, built, PROD, PROD_SA)
    assert [type(found) for found in outcome.values()] == [Unreachable, Unreachable]
    assert "the source is away" in str(outcome[PROD])


def test_a_broken_read_of_the_source_resumes(registries: FakeRegistries) -> None:
    built = image(big_layer(50_000))
    registries.push(DEV, built)
    registries.fail(DEV.registry, after_bytes=30_000)
    assert isinstance(copy(registries, built, PROD)[PROD], Staged)
    assert holds(registries, PROD, built)


def test_a_blob_that_the_source_lost_is_not_found(registries: FakeRegistries) -> None:
    part = layer("lost")
    built = image(part)
    registries.push(DEV, built)
    registries.damage(DEV, part.digest, None)
    assert isinstance(copy(registries, built, PROD)[PROD], NotFound)


def test_a_target_that_returns_other_bytes_is_a_mismatch(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    registries.held(PROD).manifests[built.digest] = image("b").root
    assert isinstance(copy(registries, built, PROD)[PROD], DigestMismatch)


def test_a_manifest_that_shows_a_moment_after_its_put_is_found(
    registries: FakeRegistries, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = multi_arch()
    registries.push(DEV, built)
    whole, late = registries.manifests, [2]

    def manifests(repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        found = whole(repository, references)
        if repository == PROD and built.digest in found and late[0]:
            late[0] -= 1
            del found[built.digest]
        return found

    monkeypatch.setattr(registries, "manifests", manifests)
    assert isinstance(copy(registries, built, PROD)[PROD], Staged)
    assert late == [0]


def test_a_manifest_missing_after_its_put_is_an_error(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    registries.put_manifest = lambda repository, manifest, tag=None: None  # type: ignore[method-assign]
    assert isinstance(copy(registries, built, PROD)[PROD], Unreachable)


def test_a_missing_repository_is_the_error_of_its_target(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    missing = Repository(PROD.registry, "nobody/knows")
    outcome = copy(registries, built, missing, PROD)
    assert isinstance(outcome[missing], NotFound)
    assert isinstance(outcome[PROD], Staged)


def test_after_the_deadline_every_target_is_out_of_time_without_requests(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    outcome = copy(registries, built, PROD, PROD_SA, deadline=lambda: 1.0)
    assert [type(found) for found in outcome.values()] == [OutOfTime, OutOfTime]
    assert calls(registries, PROD) == []


def counting_down(start: int) -> Callable[[], float]:
    lock, left = threading.Lock(), [float(start)]

    def deadline() -> float:
        with lock:
            left[0] -= 1
            return left[0]

    return deadline


def test_several_short_runs_complete_a_long_copy(registries: FakeRegistries) -> None:
    built = multi_arch(attested=True)
    registries.push(DEV, built)
    outcomes = []
    for _ in range(40):
        outcome = copy(registries, built, PROD, PROD_SA, deadline=counting_down(25))
        outcomes.append(outcome)
        if all(isinstance(found, Staged) for found in outcome.values()):
            break
    assert len(outcomes) > 1
    assert {type(found) for outcome in outcomes[:-1] for found in outcome.values()} <= {OutOfTime, Staged}
    assert holds(registries, PROD, built)
    assert holds(registries, PROD_SA, built)


def test_an_upload_that_hangs_past_the_deadline_is_not_waited_for(registries: FakeRegistries) -> None:
    built = image("a")
    registries.push(DEV, built)
    go_on, ended = threading.Event(), threading.Event()

    def upload(repository: Location, digest: Digest, size: int | None, chunks: Iterable[bytes]) -> None:
        assert go_on.wait(60)
        ended.set()
        raise Unreachable("the connection was cut")

    registries.upload = upload  # type: ignore[method-assign]
    outcome = copy(registries, built, PROD, deadline=lambda: RESERVE + 0.1)
    assert isinstance(outcome[PROD], OutOfTime)
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(60)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_copy_that_crashes_at_any_call_is_completed_by_the_next(when: str) -> None:
    built = index(image("a"), image("b", architecture="arm64"))
    signed = signature(built)

    def fresh() -> FakeRegistries:
        registries = FakeRegistries(FakeClock())
        for repository in (DEV, PROD, PROD_SA):
            registries.add(repository)
        registries.push(DEV, built, "v1")
        registries.push(DEV, signed)
        return registries

    def run(registries: FakeRegistries, crash: CrashAfter) -> None:
        port = crash.wrap(registries)
        members = read_graph(port, DEV, built.digest)
        outcome = stage(port, DEV, port, [PROD, PROD_SA], members, CopyOptions(forever))
        assert all(isinstance(found, Staged) for found in outcome.values()), outcome

    counted = CrashAfter(0)
    run(fresh(), counted)
    crashes = 0
    for n in range(1, counted.count + 1):
        registries = fresh()
        try:
            run(registries, CrashAfter(n, when))
        except Crash:
            crashes += 1
        for target in (PROD, PROD_SA):  # every image that is there is complete
            held = registries.held(target)
            assert all(b.digest in held.blobs for m in held.manifests.values() for b in m.blobs)
            assert all(c.digest in held.manifests for m in held.manifests.values() for c in m.children)
        run(registries, CrashAfter(0))
        assert holds(registries, PROD, built, signed)
        assert holds(registries, PROD_SA, built, signed)
    assert crashes > counted.count * 0.9  # threads make some calls in another order, some not at all
