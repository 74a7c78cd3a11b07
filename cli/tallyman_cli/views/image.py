"""One image: its graph, layers, findings, where it is, what it costs, what runs it, and the proof if it was removed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tallyman.domain.costs import Prices
from tallyman.domain.history.details.changes import children_of
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.referrers import Referred
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.images.documents import objects, part
from tallyman.domain.images.manifest import Descriptor
from tallyman.domain.images.signatures import BUNDLE, is_signature
from tallyman.domain.names import Digest, Repository
from tallyman.domain.retention import Reading
from tallyman.domain.times import format_time
from tallyman.errors import TallymanError
from tallyman.state.releases import ReleaseState
from tallyman_cli.registry.history import as_data as history_row
from tallyman_cli.retention.proof import proofs
from tallyman_cli.shared import rows
from tallyman_cli.shared.addresses import Named
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import contents as read_contents
from tallyman_cli.views import findings as all_findings
from tallyman_cli.views import places, usage, window
from tallyman_cli.views.board import versions_first
from tallyman_cli.views.contents import Contents, listed, text
from tallyman_cli.views.record import SAID, is_recalled
from tallyman_cli.views.shown import ImageView, costs

NEIGHBOURS = 12
"""Newest images of the repository whose layers are compared, besides those that environments run."""


def image(stack: Stack, named: Named, digest: Digest, prices: Prices) -> dict[str, Any]:
    """What `show` reports, with `graph`, `layers`, `findings`, `config`, `costs`, `released`, `proofs` and more.

    An image that no registry has any more is shown as it was recorded. Cost: besides `show`'s a BatchGetImage for each
    level of indexes, a read of each platform's configuration, one object for its findings, and three calls for its
    neighbours' layers.
    """
    place = named.place
    inside = read_contents.load(stack, place, digest)
    view = ImageView(stack, named.text, inside)
    images = dict(inside.images()) if inside.root else {}
    facts = {name: view.facts_of(d) for name, d in images.items()}
    try:
        found = view.as_data()
    except TallymanError as error:
        if not view.image.facts:
            raise
        found = _recorded(view, str(error))
    found["tags"] = versions_first(found["tags"])
    released = places.releases(stack, named.canonical or place.name)
    shared = _shared(stack, place, inside, released) if inside.root else {}
    return {
        **found,
        "repository": named.canonical or place.name,
        "environment": named.environment.name if named.environment else None,
        "place": str(place),
        "graph": graph(view) if inside.root else None,
        "layers": [
            {"platform": name, "digest": d, "size": inside.size(d), "layers": _layers(inside, d, shared)}
            for name, d in images.items()
            if d in inside.manifests
        ],
        "config": {name: config(inside.configs[d]) for name, d in images.items() if d in inside.configs},
        "scans": all_findings.scans(place, facts),
        "findings": all_findings.findings(stack, place, facts),
        "costs": costs(prices, found),
        "released": [e for e, release in released.items() if release.digest == digest],
        "recalled": is_recalled(view.image),
        "said": said(view.image.facts),
        "history": [history_row(row) for row in rows.of_digest(stack.ledger, place, digest)][:50],
        "proofs": _proofs(stack, place, view.image.facts),
    }


def uses(
    readings: Sequence[Reading], place: Repository, digests: Collection[str], tags: Collection[str]
) -> dict[str, Any]:
    """What runs any of these digests, or one of these tags of the repository: `{running: [{kind, name, where, image}],
    unread: [{source, where, error}]}`. `digests`: the image's own and those of its platforms."""
    found = usage.running(readings, digests, {place: tags})
    return {
        "running": [{"kind": u.kind, "name": u.name, "where": str(u.where), "image": u.image} for u in found],
        "unread": usage.unread(readings),
    }


def related(stack: Stack, place: Repository, digest: Digest) -> tuple[set[Digest], list[str]]:
    """The image with its platform images, and the tags of the repository that point to it; as recorded. A Query and a
    BatchGetItem."""
    pushes = [f for f in stack.ledger.of_digest(digest) if f.kind in PUSHES]
    children = {child.digest for child in children_of(pushes)}
    tags = sorted({f.tag for f in pushes if f.tag and f.repository == place})
    return {digest, *children}, [tag for tag, there in places.pointing(stack, place, tags).items() if there == digest]


def graph(view: ImageView) -> dict[str, Any]:
    """The image as a tree: `{digest, kind, platform, media_type, artifact_type, size, missing, children,
    referrers}`. An index that is listed again has no children there."""
    platforms: dict[Digest, str] = {}
    for name, digest in view.inside.images():
        platforms.setdefault(digest, name)
    return _node(view, view.digest, None, platforms, set())


def config(document: Mapping[str, Any]) -> dict[str, Any]:
    """What an image's configuration sets for what runs it."""
    inner = part(document, "config")
    return {
        "created": text(document.get("created")),
        "user": text(inner.get("User")),
        "working_dir": text(inner.get("WorkingDir")),
        "entrypoint": [str(word) for word in listed(inner.get("Entrypoint"))],
        "cmd": [str(word) for word in listed(inner.get("Cmd"))],
        "env": [str(entry) for entry in listed(inner.get("Env"))],
        "ports": sorted(part(inner, "ExposedPorts")),
        "labels": {key: str(value) for key, value in sorted(part(inner, "Labels").items())},
    }


def said(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    """What people said of the image, the newest first: `{at, kind, by, to, because, refused}`."""
    return [
        {
            "at": format_time(fact.at),
            "kind": str(fact.kind),
            "by": fact.actor,
            "to": said.target or said.environment,
            "because": said.because,
            "refused": said.refused,
        }
        for fact in sorted(facts, key=lambda f: (f.at, f.id), reverse=True)
        if fact.kind in SAID
        for said in [Said.parse(fact)]
    ]


def _recorded(view: ImageView, reason: str) -> dict[str, Any]:
    """The form of `show` for an image whose manifest neither registry nor archive has, from the facts."""
    return {
        "image": view.text,
        "digest": view.digest,
        "media_type": next((f.media_type for f in view.image.facts if f.media_type), None),
        "size": next((f.size for f in view.image.facts if f.size), None),
        "platforms": [],
        "tags": [],
        "registries": [],
        "locations": [],
        "built": view.built(),
        "verified": view.verified(),
        "scan": {"status": None, "counts": {}, "at": None, "platforms": []},
        "promotions": view.promotions(),
        "gone": reason,
    }


def _node(
    view: ImageView, digest: Digest, descriptor: Descriptor | None, platforms: Mapping[Digest, str], seen: set[Digest]
) -> dict[str, Any]:
    inside = view.inside
    manifest = inside.manifests.get(digest)
    attestation = descriptor is not None and descriptor.is_attestation
    kind = "attestation" if attestation else "index" if manifest is not None and manifest.is_index else "image"
    children = manifest.children if manifest is not None and digest not in seen else ()
    seen.add(digest)
    return {
        "digest": digest,
        "kind": kind,
        "platform": platforms.get(digest) if kind == "image" else None,
        "about": descriptor.about if descriptor else None,
        "media_type": manifest.media_type if manifest else descriptor.media_type if descriptor else None,
        "artifact_type": manifest.artifact_type if manifest else None,
        "size": manifest.size if manifest else None,
        "missing": str(inside.missing[digest]) if digest in inside.missing else None,
        "children": [_node(view, c.digest, c, platforms, seen) for c in children],
        "referrers": _referrers(view, digest),
    }


def _referrers(view: ImageView, digest: Digest) -> list[dict[str, Any]]:
    """The recorded referrers of an image in this repository, without statements inside its index, which are
    children."""
    facts = view.image.facts if digest == view.digest else view.image.platforms.get(digest, ())
    found = {}
    for fact in facts:
        referred = Referred.parse(fact) if fact.kind is Kind.REFERRED else None
        if referred and referred.repository == str(view.place) and referred.referrer not in view.inside.manifests:
            found[referred.referrer] = {
                "digest": referred.referrer,
                "artifact_type": referred.artifact_type or "",
                "predicates": list(referred.predicates or ()),
                "kind": _kind(referred),
            }
    return list(found.values())


def _kind(referred: Referred) -> str:
    """Whether the referrer is a signature or an SBOM, by its types: a Sigstore bundle may be either, or neither."""
    kind, predicates = (referred.artifact_type or "").lower(), referred.predicates or ()
    words = " ".join((kind, *predicates)).lower()
    if any(word in words for word in ("spdx", "cyclonedx", "sbom")):
        return "sbom"
    is_bundle = kind.startswith(BUNDLE)
    return "signature" if is_signature(kind, predicates) or ("sig" in kind and not is_bundle) else "referrer"


def _layers(inside: Contents, image: Digest, shared: Mapping[Digest, list[str]]) -> list[dict[str, Any]]:
    history = objects(inside.configs.get(image, {}), "history")
    steps = [text(h.get("created_by")) for h in history if not h.get("empty_layer")]
    layers = inside.manifests[image].layers
    known = steps if len(steps) == len(layers) else [None] * len(layers)
    return [
        {
            "digest": layer.digest,
            "size": layer.size,
            "media_type": layer.media_type,
            "created_by": step,
            "shared_with": shared.get(layer.digest, []),
        }
        for layer, step in zip(layers, known, strict=True)
    ]


def _shared(
    stack: Stack, place: Repository, inside: Contents, released: Mapping[str, ReleaseState]
) -> dict[Digest, list[str]]:
    """The other images of the repository that have each layer, among those that environments run and the newest."""
    labels = {release.digest: f"{e}: {', '.join(release.tags)}" for e, release in released.items()}
    recent = window.read(stack.ledger, place, None, NEIGHBOURS, least=0)
    for digest, pushes in list(recent.images.items())[:NEIGHBOURS]:
        labels.setdefault(digest, ", ".join(sorted({f.tag for f in pushes if f.tag})))
    labels.pop(inside.digest, None)
    found: dict[Digest, list[str]] = {}
    try:
        roots = stack.source.manifests(place, list(labels))
        children = {Digest(c.digest): root for root, m in roots.items() for c in m.platform_children if m.is_index}
        beneath = stack.source.manifests(place, list(children)) if children else {}
    except TallymanError:
        return {}
    for root, manifest in [*roots.items(), *((children[Digest(d)], m) for d, m in beneath.items())]:
        for layer in () if manifest.is_index else manifest.layers:
            owners = found.setdefault(layer.digest, [])
            if labels[Digest(root)] not in owners:
                owners.append(labels[Digest(root)])
    return found


def _proofs(stack: Stack, place: Repository, facts: Sequence[Fact]) -> list[dict[str, Any]]:
    removed = [f for f in facts if f.kind is Kind.REMOVED and f.repository == place and f.digest]
    return proofs(stack, place.at(removed[0].digest)) if removed and removed[0].digest else []
