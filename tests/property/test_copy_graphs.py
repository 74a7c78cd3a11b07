"""Tags come last: whatever the graph of indexes, images and referrers, a target has an image only with everything
beneath it; everything that can be copied is copied byte by byte, and failures are isolated."""

import math
from typing import Any

from hypothesis import given, reject, settings
from hypothesis import strategies as st

from support.examples import examples
from support.fakes.ports import FakeClock, FakeRegistries
from support.images.builders import DEV, PROD, PROD_SA, Built, attestation, image, index, layer, signature
from tallyman.domain.images.manifest import Descriptor
from tallyman.domain.names import Digest
from tallyman.errors import BadManifest, NotFound, TallymanError
from tallyman.services.copying.stage import CopyOptions, Staged, read_graph, read_graphs, stage

LAYERS = [layer(f"layer {n}") for n in range(5)]


@st.composite
def graphs(draw: Any) -> tuple[list[Built], list[Built]]:
    """Images that share layers, indexes that share children at any depth, of Docker and OCI in any combination, with
    attestations, and referrers of any of them and of each other."""
    nodes: list[Built] = [
        image(
            *draw(st.lists(st.sampled_from(LAYERS), min_size=1, max_size=3, unique_by=lambda la: la.digest)),
            f"own {n}",
            docker=draw(st.booleans()),
        )
        for n in range(draw(st.integers(1, 4)))
    ]
    nodes += [attestation(of) for of in draw(st.lists(st.sampled_from(nodes), max_size=1))]
    for _ in range(draw(st.integers(0, 4))):
        children = draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3, unique_by=lambda b: b.digest))
        nodes.append(index(*children, docker=draw(st.booleans())))
    signed: list[Built] = []
    for n in range(draw(st.integers(0, 3))):
        signed.append(signature(draw(st.sampled_from([*nodes, *signed])), f"signed {n}"))
    return nodes, signed


def registries_of(nodes: list[Built], signed: list[Built]) -> FakeRegistries:
    registries = FakeRegistries(FakeClock(), chunk=64)
    for repository in (DEV, PROD, PROD_SA):
        registries.add(repository)
    for built in [*nodes, *signed]:
        registries.push(DEV, built)
    return registries


def assert_complete(registries: FakeRegistries) -> None:
    """Assert that in every target each manifest has its blobs and children."""
    for target in (PROD, PROD_SA):
        held = registries.held(target)
        for digest, manifest in held.manifests.items():
            assert Digest.of(manifest.raw) == digest
            assert all(b.digest in held.blobs for b in manifest.blobs)
            assert all(c.digest in held.manifests for c in manifest.children)
        assert all(Digest.of(raw) == digest for digest, raw in held.blobs.items())


@given(graphs(), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_graph_is_copied_unchanged_and_each_blob_read_once(
    graph: tuple[list[Built], list[Built]], data: Any
) -> None:
    nodes, signed = graph
    root = data.draw(st.sampled_from(nodes))
    registries = registries_of(nodes, signed)
    try:
        members = read_graph(registries, DEV, root.digest)
    except BadManifest:
        reject()  # nested too deep
    done = stage(registries, DEV, registries, [PROD, PROD_SA], members, CopyOptions(lambda: math.inf))
    assert all(isinstance(found, Staged) for found in done.values())
    for target in (PROD, PROD_SA):
        held = registries.held(target)
        assert all(held.manifests[d].raw == m.raw for d, m in root.manifests.items())
        about: set[Digest] = set()
        for made in signed:  # each after its subject
            if made.root.subject and made.root.subject.digest in {*root.manifests, *about}:
                about.add(made.digest)
        assert about <= set(held.manifests)
    opened = [argument for method, _, argument in registries.requests if method == "open_blob"]
    assert len(opened) == len(set(opened))
    assert_complete(registries)


@given(graphs(), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_circular_referrers_lists_terminate(graph: tuple[list[Built], list[Built]], data: Any) -> None:
    """A referrers list is an index that anybody may write: it may name the subject, itself, or another list."""
    nodes, signed = graph
    root = data.draw(st.sampled_from(nodes))
    registries = registries_of(nodes, signed)
    known = sorted(registries.held(DEV).manifests)
    claims = data.draw(st.dictionaries(st.sampled_from(known), st.lists(st.sampled_from(known), max_size=3)))
    listed = {d: [Descriptor("", Digest(c), 1) for c in claims.get(d, known[:2])] for d in known}
    registries.referrers = lambda repository, subject: listed[subject]  # type: ignore[method-assign]
    try:
        members = read_graph(registries, DEV, root.digest)
    except BadManifest:
        reject()  # nested too deep
    assert len(members.digests) == len(set(members.digests))
    done = stage(registries, DEV, registries, [PROD, PROD_SA], members, CopyOptions(lambda: math.inf))
    assert all(isinstance(found, Staged) for found in done.values())
    assert_complete(registries)
    for target in (PROD, PROD_SA):
        assert set(members.digests) - members.unreadable.keys() <= set(registries.held(target).manifests)


@given(graphs(), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_missing_content_stops_only_what_needs_it(graph: tuple[list[Built], list[Built]], data: Any) -> None:
    nodes, signed = graph
    registries = registries_of(nodes, signed)
    blobs = sorted(registries.held(DEV).blobs)
    lost = set(data.draw(st.lists(st.sampled_from(blobs), max_size=2, unique=True)))
    for digest in lost:
        registries.damage(DEV, digest, None)
    gone = data.draw(st.sampled_from([None, *nodes]))
    if gone:
        registries.delete(DEV, gone.digest)
    roots = [n.digest for n in nodes]
    members, errors = read_graphs(registries, DEV, roots)
    if gone:
        assert isinstance(errors[gone.digest], NotFound)
    failed: dict[Digest, TallymanError] = dict(errors)
    if members:
        done = stage(registries, DEV, registries, [PROD], members, CopyOptions(lambda: math.inf))[PROD]
        if isinstance(done, Staged):
            failed.update(done.failed)
        else:
            failed[members.digest] = done
    assert_complete(registries)
    held = registries.held(PROD)
    for node in nodes:
        lacks = bool(lost & set(node.blobs)) or bool(gone and gone.digest in node.manifests)
        if node.digest not in failed:
            assert node.digest in held.manifests
            assert not lacks
        elif not isinstance(failed[node.digest], BadManifest):
            assert lacks, (failed[node.digest], node)
