"""The adapters' results for ECR's answers; botocore's ECR model checks each request and answer."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import ANY, Stubber

from support.images.builders import DEV, NOON, digest_of, image
from tallyman.adapters.ecr.source import EcrSource
from tallyman.adapters.ecr.target import EcrTarget
from tallyman.adapters.ecr.view import EcrView
from tallyman.adapters.http.client import HttpClient
from tallyman.domain.images.details import Finding, RepositorySettings
from tallyman.domain.images.findings import installed_of, row_of
from tallyman.domain.images.manifest import MANIFEST_TYPES
from tallyman.domain.images.purls import Package
from tallyman.domain.names import EcrRegistry, Repository
from tallyman.errors import BadInput, NotAllowed, NotFound, Refused, TallymanError, Throttled, Unreachable, Unsupported

APP = digest_of("app")
SESSION: Any = botocore.session.get_session()  # shared: creating it reads ECR's model
NAMES = {"registryId": DEV.registry.account, "repositoryName": DEV.name}


class Stubbed:
    """`Clients` with one stubbed client."""

    def __init__(self) -> None:
        self.client: Any = SESSION.create_client(
            "ecr", region_name=DEV.registry.region, aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.stub = Stubber(self.client)

    def get(self, *where: Any) -> Any:
        return self.client

    @property
    def source(self) -> EcrSource:
        clients: Any = self
        return EcrSource(clients, HttpClient())

    @property
    def view(self) -> EcrView:
        clients: Any = self
        return EcrView(clients)

    @property
    def target(self) -> EcrTarget:
        clients: Any = self
        return EcrTarget(clients, clients)


@pytest.fixture
def ecr() -> Iterator[Stubbed]:
    made = Stubbed()
    with made.stub:
        yield made
        made.stub.assert_no_pending_responses()


# --- manifests


def test_a_manifest_is_requested_with_every_known_media_type(ecr: Stubbed) -> None:
    root = image("app").root
    found = {"imageManifest": root.raw.decode(), "imageManifestMediaType": root.media_type}
    request = {**NAMES, "imageIds": [{"imageTag": "v1"}], "acceptedMediaTypes": list(MANIFEST_TYPES)}
    ecr.stub.add_response("batch_get_image", {"images": [found], "failures": []}, request)
    assert ecr.source.manifest(DEV, "v1") == root


@pytest.mark.parametrize("text", ['{"mediaType": "application/x"}', "[]", "no json"])
def test_a_manifest_without_a_declared_type_has_the_documents_own(ecr: Stubbed, text: str) -> None:
    ecr.stub.add_response("batch_get_image", {"images": [{"imageManifest": text}], "failures": []})
    found = ecr.source.manifest(DEV, APP)
    assert found is not None
    assert (found.raw, found.media_type) == (text.encode(), "application/x" if "x" in text else "")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("KmsError", NotAllowed),
        ("InvalidImageTag", BadInput),
        ("UpstreamTooManyRequests", Throttled),
        ("UpstreamUnavailable", Unreachable),
        ("ANewCode", Refused),
    ],
)
def test_an_unreadable_manifest_is_not_missing(ecr: Stubbed, code: str, expected: type[TallymanError]) -> None:
    failure = {"imageId": {"imageTag": "v1"}, "failureCode": code, "failureReason": "words"}
    ecr.stub.add_response("batch_get_image", {"images": [], "failures": [failure]})
    with pytest.raises(expected, match="words"):
        ecr.source.manifest(DEV, "v1")


@pytest.mark.parametrize("code", ["ImageNotFound", "ImageInaccessible"])
def test_an_archived_image_does_not_keep_others_from_being_read(ecr: Stubbed, code: str) -> None:
    """With either code that ECR may give for it."""
    root = image("app").root
    found = {"imageId": {"imageDigest": root.digest}, "imageManifest": root.raw.decode()}
    failure = {"imageId": {"imageDigest": APP}, "failureCode": code, "failureReason": "words"}
    ecr.stub.add_response("batch_get_image", {"images": [found], "failures": [failure]})
    assert list(ecr.source.manifests(DEV, [APP, root.digest])) == [root.digest]


# --- images


def described(**more: Any) -> dict[str, Any]:
    return {"imageDigest": APP, "imagePushedAt": NOON, **more}


def test_archived_images_are_listed_too(ecr: Stubbed) -> None:
    pages: list[dict[str, Any]] = [
        {"imageDetails": [described(imageStatus="ARCHIVED", lastRecordedPullTime=NOON)], "nextToken": "more"},
        {"imageDetails": [described(imageStatus="ACTIVE", imageTags=["v1"], imageSizeInBytes=5)]},
    ]
    request = {**NAMES, "maxResults": 1000, "filter": {"imageStatus": "ANY"}}
    ecr.stub.add_response("describe_images", pages[0], request)
    ecr.stub.add_response("describe_images", pages[1], {**request, "nextToken": "more"})
    archived, active = ecr.source.images(DEV)
    assert (archived.archived, archived.pulled_at, archived.tags, archived.size) == (True, NOON, (), None)
    assert (active.archived, active.pulled_at, active.tags, active.size) == (False, None, ("v1",), 5)
    assert archived.pushed_at == NOON


def test_a_registry_without_archives_is_asked_without_that_filter(ecr: Stubbed) -> None:
    ecr.stub.add_client_error("describe_images", "InvalidParameterException", "imageStatus")
    ecr.stub.add_response("describe_images", {"imageDetails": [described()]}, {**NAMES, "maxResults": 1000})
    assert [d.digest for d in ecr.source.images(DEV)] == [APP]


def test_times_are_utc_whatever_the_zone_of_the_machine(ecr: Stubbed) -> None:
    local = datetime.fromisoformat("2026-11-16T09:00:00-03:00")
    ecr.stub.add_response("describe_images", {"imageDetails": [described(imagePushedAt=local)]})
    (found,) = ecr.source.images(DEV)
    assert (found.pushed_at, found.pushed_at.tzinfo) == (NOON, UTC)


def test_a_layer_is_missing_unless_it_is_available(ecr: Stubbed) -> None:
    digests = [digest_of(str(n)) for n in range(4)]
    answer = {
        "layers": [
            {"layerDigest": digests[0], "layerAvailability": "AVAILABLE", "layerSize": 1},
            {"layerDigest": digests[1], "layerAvailability": "UNAVAILABLE"},
            {"layerDigest": digests[2], "layerAvailability": "ARCHIVED"},
        ],
        "failures": [{"layerDigest": digests[3], "failureCode": "MissingLayerDigest", "failureReason": "x"}],
    }
    ecr.stub.add_response("batch_check_layer_availability", answer, {**NAMES, "layerDigests": digests})
    assert ecr.source.missing_blobs(DEV, [*digests, digests[0]]) == set(digests[1:])


def test_referrers_are_read_to_the_last_page(ecr: Stubbed) -> None:
    one = {"digest": digest_of("sig"), "mediaType": "m", "artifactType": "a", "size": 7, "annotations": {"k": "v"}}
    two = {"digest": digest_of("sbom"), "mediaType": "m", "size": 8}
    request = {**NAMES, "subjectId": {"imageDigest": APP}, "maxResults": 50}
    ecr.stub.add_response("list_image_referrers", {"referrers": [one], "nextToken": "t"}, request)
    ecr.stub.add_response("list_image_referrers", {"referrers": [two]}, {**request, "nextToken": "t"})
    found = ecr.source.referrers(DEV, APP)
    assert [(d.digest, d.artifact_type, d.size) for d in found] == [
        (digest_of("sig"), "a", 7),
        (digest_of("sbom"), None, 8),
    ]


def test_a_registry_without_the_call_has_no_referrers(ecr: Stubbed) -> None:
    ecr.stub.add_client_error("list_image_referrers", "UnknownOperationException")
    assert ecr.source.referrers(DEV, APP) == []


# --- scans


def answer(status: str, description: str | None = None, **findings: Any) -> dict[str, Any]:
    scan_status = {"status": status} | ({"description": description} if description else {})
    return {"imageScanStatus": scan_status, "imageScanFindings": findings}


def test_a_basic_scan_with_its_findings_page_by_page(ecr: Stubbed) -> None:
    counts = {"CRITICAL": 1, "HIGH": 1}
    finding = {"name": "CVE-1", "severity": "CRITICAL", "attributes": [{"key": "package_name", "value": "openssl"}]}
    whole = answer("COMPLETE", findingSeverityCounts=counts, findings=[finding], imageScanCompletedAt=NOON)
    more = answer("COMPLETE", findingSeverityCounts=counts, findings=[{"name": "CVE-2", "severity": "HIGH"}])
    request = {**NAMES, "imageId": {"imageDigest": APP}, "maxResults": 1000}
    ecr.stub.add_response("describe_image_scan_findings", {**whole, "nextToken": "t"}, request)
    ecr.stub.add_response(
        "describe_image_scan_findings",
        {**more, "imageScanFindings": {**more["imageScanFindings"], "imageScanCompletedAt": NOON}},
        {**request, "nextToken": "t"},
    )
    found = ecr.view.scan(DEV, APP)
    assert (found.status, found.completed_at, found.reason) == ("complete", NOON, None)
    assert found.counts == {"critical": 1, "high": 1}
    assert found.findings == (Finding("CVE-1", "critical", "openssl"), Finding("CVE-2", "high"))


def test_an_enhanced_scan_with_its_findings(ecr: Stubbed) -> None:
    def finding(name: str, severity: str, status: str = "ACTIVE") -> dict[str, Any]:
        packages = [{"name": "log4j", "version": "2"}]
        details = {"vulnerabilityId": name, "vulnerablePackages": packages}
        return {"severity": severity, "status": status, "packageVulnerabilityDetails": details}

    findings = [finding("CVE-1", "CRITICAL"), finding("CVE-2", "UNTRIAGED"), finding("CVE-3", "HIGH", "CLOSED")]
    counts = {"CRITICAL": 1, "UNTRIAGED": 1, "UNDEFINED": 1}
    ecr.stub.add_response(
        "describe_image_scan_findings",
        answer("ACTIVE", enhancedFindings=findings, findingSeverityCounts=counts, imageScanCompletedAt=NOON),
    )
    found = ecr.view.scan(DEV, APP)
    assert found.status == "complete"
    assert found.counts == {"critical": 1, "undefined": 2}
    assert found.findings == (Finding("CVE-1", "critical", "log4j"), Finding("CVE-2", "undefined", "log4j"))


@pytest.mark.parametrize(
    ("status", "description", "expected"),
    [
        ("IN_PROGRESS", None, "in_progress"),
        ("PENDING", None, "in_progress"),
        ("UNSUPPORTED_IMAGE", None, "unsupported"),
        ("IMAGE_SIZE_EXCEEDED", None, "unsupported"),
        (
            "FAILED",
            "UnsupportedImageError: The operating system and/or package manager are not supported.",
            "unsupported",
        ),
        ("FAILED", "Something else", "failed"),
        ("SCAN_ELIGIBILITY_EXPIRED", None, "failed"),
        ("FINDINGS_UNAVAILABLE", None, "failed"),
        ("LIMIT_EXCEEDED", None, "failed"),
        ("IMAGE_ARCHIVED", None, "failed"),
        ("SOMETHING_NEW", None, "failed"),
    ],
)
def test_only_a_complete_status_is_complete(ecr: Stubbed, status: str, description: str | None, expected: str) -> None:
    ecr.stub.add_response("describe_image_scan_findings", answer(status, description))
    found = ecr.view.scan(DEV, APP)
    assert found.status == expected
    assert found.reason is not None
    assert status in found.reason


def test_an_unscanned_image_and_a_missing_one_are_distinguished(ecr: Stubbed) -> None:
    ecr.stub.add_client_error("describe_image_scan_findings", "ScanNotFoundException")
    assert ecr.view.scan(DEV, APP).status == "none"
    for code in ("ImageNotFoundException", "RepositoryNotFoundException"):
        ecr.stub.add_client_error("describe_image_scan_findings", code)
        with pytest.raises(NotFound):
            ecr.view.scan(DEV, APP)


def test_an_error_counts_by_its_code_whatever_its_words_name(ecr: Stubbed) -> None:
    """ECR quotes names: a tag may be named as one of its codes."""
    words = "The image with imageId {imageTag: ScanNotFoundException} does not exist"
    ecr.stub.add_client_error("describe_image_scan_findings", "ImageNotFoundException", words)
    with pytest.raises(NotFound) as raised:
        ecr.view.scan(DEV, APP)
    assert raised.value.code == "ImageNotFoundException"
    words = "The repository LimitExceededException can't be scanned"
    ecr.stub.add_client_error("start_image_scan", "ImageArchivedException", words)
    with pytest.raises(Refused):
        ecr.view.start_scan(DEV, APP)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("LimitExceededException", None),
        ("UnsupportedImageTypeException", Unsupported),
        ("ValidationException", Unsupported),
        ("InvalidParameterException", BadInput),
        ("ImageNotFoundException", NotFound),
        ("ImageArchivedException", Refused),
    ],
)
def test_each_refusal_of_a_scan_is_its_own_error_except_the_daily_limit(
    ecr: Stubbed, code: str, expected: type[TallymanError] | None
) -> None:
    ecr.stub.add_client_error("start_image_scan", code, "words")
    if expected is None:
        ecr.view.start_scan(DEV, APP)
    else:
        with pytest.raises(expected, match="words"):
            ecr.view.start_scan(DEV, APP)


# --- repositories


@pytest.mark.parametrize(
    ("mutability", "immutable", "mutable_tags"),
    [
        ("MUTABLE", False, ()),
        ("IMMUTABLE", True, ()),
        ("IMMUTABLE_WITH_EXCLUSION", True, ("latest", "dev-*")),
        ("MUTABLE_WITH_EXCLUSION", False, ()),  # its filters name what stays mutable: no protection for fixed tags
    ],
)
def test_only_reliable_settings_count_as_immutable(
    ecr: Stubbed, mutability: str, immutable: bool, mutable_tags: tuple[str, ...]
) -> None:
    found = {
        "repositoryName": DEV.name,
        "imageTagMutability": mutability,
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "arn:key"},
        "imageScanningConfiguration": {"scanOnPush": True},
        "createdAt": NOON,
    }
    if "EXCLUSION" in mutability:
        filters = [{"filterType": "WILDCARD", "filter": text} for text in ("latest", "dev-*")]
        found["imageTagMutabilityExclusionFilters"] = filters
    ecr.stub.add_response("describe_repositories", {"repositories": [found]})
    assert ecr.view.settings(DEV) == RepositorySettings(
        DEV, immutable, mutable_tags, encryption="KMS", kms_key="arn:key", scan_on_push=True
    )


WANTED = RepositorySettings(DEV, immutable=True, encryption="KMS", kms_key="arn:key")


def test_a_new_repository_lets_only_the_accounts_given_read_it(ecr: Stubbed) -> None:
    created = {"repository": {"repositoryName": DEV.name}}
    request = {
        **NAMES,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": False},
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "arn:key"},
    }
    ecr.stub.add_response("create_repository", created, request)
    ecr.stub.add_client_error("get_repository_policy", "RepositoryPolicyNotFoundException")
    texts: list[str] = []
    ecr.client.meta.events.register(
        "provide-client-params.ecr.SetRepositoryPolicy", lambda params, **_: texts.append(params["policyText"])
    )
    ecr.stub.add_response("set_repository_policy", {}, {**NAMES, "policyText": ANY})
    ecr.target.create(WANTED, pull=["333333333333"])
    accounts, functions = json.loads(texts[0])["Statement"]
    assert accounts["Principal"] == {"AWS": ["arn:aws:iam::333333333333:root"]}
    assert functions["Principal"] == {"Service": "lambda.amazonaws.com"}
    wanted = {"aws:SourceArn": [f"arn:aws:lambda:{DEV.registry.region}:333333333333:function:*"]}
    assert functions["Condition"] == {"ArnLike": wanted}
    assert not [
        action
        for action in (*accounts["Action"], *functions["Action"])
        if not action.startswith(("ecr:BatchGet", "ecr:BatchCheck", "ecr:GetDown"))
    ]


def test_an_existing_repository_policy_is_not_changed(ecr: Stubbed) -> None:
    ecr.stub.add_client_error("create_repository", "RepositoryAlreadyExistsException")
    ecr.stub.add_response("get_repository_policy", {"policyText": "{}"})
    ecr.target.create(WANTED, pull=["333333333333"])


def test_a_repository_that_may_not_be_created_is_refused(ecr: Stubbed) -> None:
    for code, expected in (("LimitExceededException", Refused), ("KmsException", NotAllowed)):
        ecr.stub.add_client_error("create_repository", code)
        with pytest.raises(expected, match="rocketseat/widget-server"):
            ecr.target.create(WANTED)


# --- incomplete answers


FINDING = {"name": "CVE-1", "severity": "CRITICAL"}


@pytest.mark.parametrize(
    ("status", "findings"),
    [
        ("COMPLETE", {}),
        ("COMPLETE", {"findings": []}),  # before Inspector has looked: aws-sdk #289
        ("ACTIVE", {"enhancedFindings": []}),
        ("COMPLETE", {"findings": [], "findingSeverityCounts": {}}),
        ("COMPLETE", {"findings": [FINDING], "findingSeverityCounts": {"CRITICAL": 1}}),
        ("COMPLETE", {"imageScanCompletedAt": NOON}),
        ("COMPLETE", {"findings": [], "imageScanCompletedAt": NOON}),
        ("ACTIVE", {"enhancedFindings": [], "imageScanCompletedAt": NOON}),
    ],
)
def test_a_scan_is_complete_only_with_its_time_and_what_it_found(
    ecr: Stubbed, status: str, findings: dict[str, Any]
) -> None:
    ecr.stub.add_response("describe_image_scan_findings", answer(status, **findings))
    found = ecr.view.scan(DEV, APP)
    assert (found.status, found.completed_at, dict(found.counts)) == ("unknown", None, {})
    assert found.reason is not None
    assert "lacks" in found.reason


def test_a_clean_scan_is_one_with_its_time_and_empty_counts(ecr: Stubbed) -> None:
    clean = answer("COMPLETE", findings=[], findingSeverityCounts={}, imageScanCompletedAt=NOON)
    ecr.stub.add_response("describe_image_scan_findings", clean)
    found = ecr.view.scan(DEV, APP)
    assert (found.status, found.completed_at, dict(found.counts)) == ("complete", NOON, {})


def test_pages_of_two_different_scans_are_not_combined(ecr: Stubbed) -> None:
    whole = answer("COMPLETE", findings=[FINDING], findingSeverityCounts={"CRITICAL": 1}, imageScanCompletedAt=NOON)
    later = answer(
        "COMPLETE", findings=[], findingSeverityCounts={}, imageScanCompletedAt=datetime(2027, 1, 1, tzinfo=UTC)
    )
    ecr.stub.add_response("describe_image_scan_findings", {**whole, "nextToken": "t"})
    ecr.stub.add_response("describe_image_scan_findings", later)
    assert ecr.view.scan(DEV, APP).status == "unknown"


def test_the_larger_of_listed_and_counted_findings_counts(ecr: Stubbed) -> None:
    scan = answer(
        "COMPLETE",
        findings=[FINDING, FINDING, {"name": "CVE-2", "severity": "MARS"}],
        findingSeverityCounts={"CRITICAL": 1, "HIGH": 2, "TOTAL": 3},
        imageScanCompletedAt=NOON,
    )
    ecr.stub.add_response("describe_image_scan_findings", scan)
    assert ecr.view.scan(DEV, APP).counts == {"critical": 3, "high": 2}


def test_inspectors_finding_details_are_kept_and_missing_ones_are_unknown(ecr: Stubbed) -> None:
    packages = [{"name": "log4j", "version": "2"}, {"name": "log4j-api", "version": "2"}]
    full = {
        "severity": "HIGH",
        "status": "ACTIVE",
        "firstObservedAt": NOON,
        "fixAvailable": "PARTIAL",
        "exploitAvailable": "NO",
        "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-1", "vulnerablePackages": packages},
    }
    bare = {"severity": "HIGH", "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-2"}}
    scan = answer("ACTIVE", enhancedFindings=[full, bare], findingSeverityCounts={"HIGH": 2}, imageScanCompletedAt=NOON)
    ecr.stub.add_response("describe_image_scan_findings", scan)
    assert ecr.view.scan(DEV, APP).findings == (
        Finding("CVE-1", "high", "log4j", ("log4j", "log4j-api"), True, False, None, NOON),
        Finding("CVE-2", "high"),
    )


def test_installed_packages_are_kept_with_version_and_manager(ecr: Stubbed) -> None:
    packages = [
        {"name": "curl", "version": "7.88.1", "release": "10+deb12u5", "epoch": 0, "packageManager": "OS"},
        {"name": "perl", "version": "5.36", "release": "1", "epoch": 4, "packageManager": "OS"},
        {"name": "lodash", "version": "4.17.20", "packageManager": "NPM"},
        {"name": "lodash", "version": "4.17.20", "packageManager": "NPM", "filePath": "elsewhere"},
    ]
    details = {"vulnerabilityId": "CVE-1", "vulnerablePackages": packages}
    found = {"severity": "HIGH", "packageVulnerabilityDetails": details}
    scan = answer("ACTIVE", enhancedFindings=[found], findingSeverityCounts={"HIGH": 1}, imageScanCompletedAt=NOON)
    ecr.stub.add_response("describe_image_scan_findings", scan)
    (finding,) = ecr.view.scan(DEV, APP).findings
    assert finding.installed == (
        Package("curl", "7.88.1-10+deb12u5", "OS"),
        Package("perl", "4:5.36-1", "OS"),
        Package("lodash", "4.17.20", "NPM"),
    )
    assert installed_of(row_of(finding))[0] == Package("curl", "7.88.1-10+deb12u5", "OS")
    attributes = [{"key": "package_name", "value": "curl"}, {"key": "package_version", "value": "7.88.1-10"}]
    basic = {"name": "CVE-2", "severity": "HIGH", "attributes": attributes}
    scan = answer("COMPLETE", findings=[basic], findingSeverityCounts={"HIGH": 1}, imageScanCompletedAt=NOON)
    ecr.stub.add_response("describe_image_scan_findings", scan)
    assert ecr.view.scan(DEV, APP).findings[0].installed == (Package("curl", "7.88.1-10", "OS"),)


def test_an_unsupported_call_gives_no_result_for_the_image(ecr: Stubbed) -> None:
    ecr.stub.add_client_error("describe_image_scan_findings", "UnsupportedImageTypeException")
    assert ecr.view.scan(DEV, APP).status == "unsupported"
    ecr.stub.add_client_error("describe_image_scan_findings", "UnknownOperationException")
    with pytest.raises(Unsupported):
        ecr.view.scan(DEV, APP)


def test_a_missing_list_is_not_an_empty_list(ecr: Stubbed) -> None:
    ecr.stub.add_response("describe_images", {})
    with pytest.raises(Unreachable, match="lacks 'imageDetails'"):
        list(ecr.source.images(DEV))
    ecr.stub.add_response("describe_repositories", {})
    with pytest.raises(Unreachable, match="lacks 'repositories'"):
        list(ecr.view.repositories(DEV.registry))
    ecr.stub.add_response("describe_repositories", {"repositories": []})
    with pytest.raises(Unreachable, match="does not name it"):
        ecr.view.settings(DEV)
    ecr.stub.add_response("list_image_referrers", {})
    with pytest.raises(Unreachable, match="lacks 'referrers'"):
        ecr.source.referrers(DEV, APP)


def test_a_repeated_page_token_is_an_error(ecr: Stubbed) -> None:
    for _ in range(2):
        ecr.stub.add_response("describe_images", {"imageDetails": [], "nextToken": "same"})
    with pytest.raises(Unreachable, match="same next page twice"):
        list(ecr.source.images(DEV))


def test_an_image_that_the_answer_omits_is_not_missing(ecr: Stubbed) -> None:
    ecr.stub.add_response("batch_get_image", {"images": [], "failures": []})
    with pytest.raises(Unreachable, match="does not name v1"):
        ecr.source.manifest(DEV, "v1")
    ecr.stub.add_response("describe_images", {"imageDetails": []})
    with pytest.raises(Unreachable, match="does not name v1"):
        ecr.source.describe(DEV, ["v1"])
    missing = {"imageId": {"imageTag": "v1"}, "failureCode": "ImageNotFound", "failureReason": "x"}
    ecr.stub.add_response("batch_get_image", {"images": [], "failures": [missing]})
    assert ecr.source.manifest(DEV, "v1") is None


def test_the_epss_of_an_image_is_inspectors_and_unknown_without_permission() -> None:
    client: Any = SESSION.create_client(
        "inspector2", region_name=DEV.registry.region, aws_access_key_id="x", aws_secret_access_key="x"
    )
    stub = Stubber(client)
    clients: Any = type("One", (), {"get": lambda self, *where: client})()
    finding = {
        "findingArn": "arn:aws:inspector2:us-east-2:111111111111:finding/" + "0" * 32,
        "awsAccountId": "111111111111",
        "type": "PACKAGE_VULNERABILITY",
        "description": "d",
        "remediation": {},
        "severity": "HIGH",
        "firstObservedAt": NOON,
        "lastObservedAt": NOON,
        "status": "ACTIVE",
        "resources": [{"type": "AWS_ECR_CONTAINER_IMAGE", "id": "arn"}],
    }
    named = {"source": "NVD", "vulnerabilityId": "CVE-1"}
    scored = {**finding, "packageVulnerabilityDetails": named, "epss": {"score": 0.25}}
    stub.add_response("list_findings", {"findings": [scored, {**finding, "packageVulnerabilityDetails": named}]})
    stub.add_client_error("list_findings", "AccessDeniedException")
    stub.add_client_error("list_findings", "ThrottlingException")
    with stub:
        assert EcrView(clients).epss(DEV, APP) == {"CVE-1": 0.25}
        assert EcrView(clients).epss(DEV, APP) == {}
        with pytest.raises(Throttled):
            EcrView(clients).epss(DEV, APP)


class Nowhere:
    """`Clients` whose hosts do not exist."""

    def get(self, service: str, registry: EcrRegistry) -> Any:
        return self

    def list_findings(self, **request: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://inspector2")


@pytest.mark.parametrize(("region", "has"), [("eusc-de-east-1", False), ("ap-southeast-6", False), ("sa-east-1", True)])
def test_the_epss_is_unknown_in_a_region_without_inspector(region: str, has: bool) -> None:
    """So the scan is recorded there; a host that does not answer for now stays an error."""
    view = EcrView(Nowhere())  # type: ignore[arg-type]
    place = Repository(EcrRegistry("111111111111", region), DEV.name)
    if has:
        with pytest.raises(Unreachable):
            view.epss(place, APP)
    else:
        assert view.epss(place, APP) == {}
