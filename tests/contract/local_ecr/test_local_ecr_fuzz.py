"""The local ECR answers any input with an error of ECR or OCI, never with an internal error."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

from support.examples import examples
from support.images.builders import image
from support.servers.ecr import DEV, NAME, Served, identity, serve
from tallyman_local.ecr import model
from tallyman_local.ecr.api.calls import OPERATIONS

DIGEST = "sha256:" + "0" * 64
FEW = settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
words = st.sampled_from(
    ["", "v1", "-", DIGEST, "sha256:", "\ud800", "\x00", "é", "9" * 5000, "application/vnd.oci.image.index.v1+json",
     "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+json", NAME]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(), inner, max_size=3),
    max_leaves=8,
)
descriptors = st.fixed_dictionaries(
    {}, optional={"digest": st.just(DIGEST) | values, "mediaType": values, "size": values, "annotations": values}
)
manifests = st.fixed_dictionaries(
    {"schemaVersion": st.sampled_from([2, 2, 2, 1, "2"])},
    optional={
        "mediaType": words | values,
        "config": descriptors | values,
        "layers": st.lists(descriptors, max_size=2) | values,
        "manifests": st.lists(descriptors, max_size=2) | values,
        "subject": descriptors | values,
        "annotations": st.dictionaries(words, words, max_size=2) | values,
        "artifactType": words | values,
    },
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("ecr")) as running:
        running.create()
        running.push(image("app"), "v1")
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    return Client(served.ecr.v2(DEV))


@FEW
@given(body=manifests | values, kind=words, encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_any_manifest_is_stored_or_refused(served: Served, client: Client, body: Any, kind: str, encoding: str) -> None:
    raw = json.dumps(body).encode(encoding)
    headers = {"Authorization": served.token(), "Content-Type": kind if kind.isascii() and "\x00" not in kind else ""}
    answer = client.put(f"/v2/{NAME}/manifests/any", data=raw, headers=headers)
    assert answer.status_code in (201, 400, 405), answer.data
    if answer.status_code == 201:
        assert client.get(f"/v2/{NAME}/manifests/any", headers=headers).data == raw
        status, body = served.api("BatchGetImage", repositoryName=NAME, imageIds=[{"imageTag": "any"}])
        assert (status, body["images"][0]["imageManifest"].encode()) == (200, raw)


@FEW
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"]),
    name=st.sampled_from([NAME, "no/such"]) | words | st.text(max_size=9),
    rest=st.sampled_from(
        ["tags/list", "manifests/{}", "blobs/{}", "blobs/uploads/{}", "blobs/uploads/", "referrers/{}"]
    ),
    what=words | st.text(max_size=9),
    query=st.dictionaries(st.sampled_from(["n", "last", "mount", "from", "digest", "artifactType"]), words, max_size=2),
    headers=st.dictionaries(
        st.sampled_from(["Range", "Content-Range"]), st.sampled_from(["bytes=0-", "9-1", "x", "9" * 5000 + "-"])
    ),
)
def test_any_request_gets_an_answer_without_an_internal_error(  # noqa: PLR0913 - what Hypothesis draws
    served: Served,
    client: Client,
    method: str,
    name: str,
    rest: str,
    what: str,
    query: dict[str, str],
    headers: dict[str, str],
) -> None:
    def quoted(text: str) -> str:
        return quote(text.encode("utf-8", "surrogatepass"))

    path = f"/v2/{quoted(name)}/{rest.format(quoted(what))}"
    named = {"Authorization": served.token(), **headers}
    asked = "&".join(f"{key}={quoted(value)}" for key, value in query.items())
    answer = client.open(path, method=method, query_string=asked, headers=named, data=b"{}")
    assert answer.status_code < 500, answer.data


@FEW
@given(operation=st.sampled_from(sorted(OPERATIONS.keys() - {"DeleteRepository"})), data=st.data())
def test_any_parameters_get_an_answer_without_an_internal_error(
    served: Served, operation: str, data: st.DataObject
) -> None:
    shape = model.service().operation_model(operation).input_shape
    assert shape is not None
    ids = st.lists(
        st.fixed_dictionaries({}, optional={"imageTag": words, "imageDigest": words}), min_size=1, max_size=2
    )
    known: dict[str, Any] = {
        "repositoryName": st.just(NAME),
        "imageIds": ids,
        "imageManifest": manifests.map(json.dumps),
        "resourceArn": st.just(f"arn:aws:ecr:us-east-2:111111111111:repository/{NAME}") | words,
        "uploadId": st.just("00000000-0000-0000-0000-000000000000"),
        "layerDigests": st.lists(words, min_size=1, max_size=2),
        "nextToken": st.sampled_from(
            ["", "e30=", "eyJhZnRlciI6IDF9", "eyJhZnRlciI6IFsxLCAyXX0=", "eyJhZnRlciI6ICJhIn0="]
        ),
    }
    parameters = {}
    for name in shape.members:
        if name in ("repositoryName", *shape.required_members) or data.draw(st.booleans()):
            parameters[name] = data.draw(known.get(name, words) | values if name != "repositoryName" else known[name])
    status, _, body = served.ecr.api(operation, json.dumps(parameters).encode(), DEV, identity(DEV.account))
    assert status in (200, 400), body
