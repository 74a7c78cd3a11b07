"""Archive, Hints, Notices, Announcements, People and Trail: one suite for the fakes and for the adapters on moto."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from support.fakes.ports import FakeAnnouncements, FakeArchive, FakeHints, FakeNotices, FakePeople, FakeTrail
from support.images.builders import DEV, NOON, PROD, api_call_event, digest_of
from support.servers import aws_mock
from tallyman.adapters.aws.cloudtrail import CHANGES, CloudTrail, calls_of
from tallyman.adapters.aws.iam import IamPeople
from tallyman.adapters.aws.notices import BusAnnouncements, SnsNotices, subject_of
from tallyman.adapters.aws.s3 import S3Archive
from tallyman.adapters.aws.sqs import DeadLetters, SqsHints
from tallyman.domain.images.details import ApiCall
from tallyman.domain.names import Digest, EcrRegistry
from tallyman.errors import BadInput, DigestMismatch, NotFound, Throttled, Unreachable
from tallyman.ports.messages import Announcements, Hints, Notices, People
from tallyman.ports.records import Archive
from tallyman.ports.registries import Trail
from tallyman_local.aws.trail import Trail as LocalTrail

BUCKET = "t-archive"


@pytest.fixture
def cloud() -> Iterator[None]:
    with aws_mock.aws():
        yield


# --- Archive


@dataclass
class ArchiveSetup:
    archive: Archive
    overwrite: Callable[[str, Digest, bytes], Any]


@pytest.fixture(params=["fake", "s3"])
def archive_setup(request: pytest.FixtureRequest) -> Iterator[ArchiveSetup]:
    if request.param == "fake":
        fake = FakeArchive()
        yield ArchiveSetup(fake, lambda folder, digest, raw: fake.objects.update({(folder, digest): raw}))
        return
    with aws_mock.aws():
        s3 = aws_mock.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": aws_mock.REGION})

        def overwrite(folder: str, digest: Digest, raw: bytes) -> None:
            s3.put_object(Bucket=BUCKET, Key=f"{folder}/{digest.hex}", Body=raw)

        yield ArchiveSetup(S3Archive(s3, BUCKET), overwrite)


@pytest.mark.parametrize("raw", [b"", b'{"schemaVersion": 2}', bytes(range(256)) * 16 * 1024])
def test_bytes_are_read_as_they_were_written(archive_setup: ArchiveSetup, raw: bytes) -> None:
    digest = archive_setup.archive.put("manifests", raw)
    assert digest == Digest.of(raw)
    assert archive_setup.archive.get("manifests", digest) == raw
    assert archive_setup.archive.get("scans", digest) is None


def test_archived_objects_are_never_overwritten(archive_setup: ArchiveSetup) -> None:
    digest = archive_setup.archive.put("manifests", b"right")
    archive_setup.overwrite("manifests", digest, b"damaged")
    assert archive_setup.archive.put("manifests", b"right") == digest
    with pytest.raises(DigestMismatch):
        archive_setup.archive.get("manifests", digest)


def test_a_missing_bucket_is_not_a_missing_object(cloud: None) -> None:
    with pytest.raises(NotFound):
        S3Archive(aws_mock.client("s3"), "nowhere").get("manifests", digest_of("x"))


def test_an_objects_key_is_its_folder_and_hexadecimal_digest(cloud: None) -> None:
    s3 = aws_mock.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": aws_mock.REGION})
    digest = S3Archive(s3, BUCKET).put("policies", b"x")
    assert s3.get_object(Bucket=BUCKET, Key=f"policies/{digest.hex}")["Body"].read() == b"x"


# --- Hints and dead letters


@dataclass
class HintsSetup:
    hints: Hints
    received: Callable[[], list[dict[str, Any]]]


@pytest.fixture(params=["fake", "sqs"])
def hints_setup(request: pytest.FixtureRequest) -> Iterator[HintsSetup]:
    if request.param == "fake":
        fake = FakeHints()
        yield HintsSetup(fake, lambda: fake.to("promote"))
        return
    with aws_mock.aws():
        sqs = aws_mock.client("sqs")
        url = sqs.create_queue(QueueName="promote")["QueueUrl"]
        yield HintsSetup(SqsHints(sqs, {"promote": url}), lambda: [json.loads(m["Body"]) for m in messages(sqs, url)])


def messages(sqs: Any, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=0
    ).get("Messages", [])
    return found


def test_a_hint_arrives_as_it_was_sent(hints_setup: HintsSetup) -> None:
    body = {"digest": digest_of("app"), "to": "prod", "n": [1, None, "São Paulo"]}
    hints_setup.hints.send("promote", body)
    assert hints_setup.received() == [body]


@pytest.mark.parametrize("delay", [-1, 901])
def test_a_hint_is_delayed_by_at_most_a_quarter_of_an_hour(hints_setup: HintsSetup, delay: int) -> None:
    with pytest.raises(BadInput, match="900"):
        hints_setup.hints.send("promote", {}, delay)


def test_an_unconfigured_queue_is_bad_input(cloud: None) -> None:
    with pytest.raises(BadInput, match="TALLYMAN_VERIFY_QUEUE"):
        SqsHints(aws_mock.client("sqs"), {}).send("verify", {})


def test_a_hint_that_is_too_large_is_an_error(cloud: None) -> None:
    with pytest.raises(BadInput, match="262144"):
        SqsHints(aws_mock.client("sqs"), {"verify": "url"}).send("verify", {"x": "x" * 262144})


def test_a_dead_letter_keeps_its_body_and_has_a_reason(cloud: None) -> None:
    sqs = aws_mock.client("sqs")
    url = sqs.create_queue(QueueName="dead")["QueueUrl"]
    DeadLetters(sqs, url).send('{"not": "an event', "no event: line 1\x00\x1b", "BadMessage", "record_push")
    (message,) = messages(sqs, url)
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert message["Body"] == '{"not": "an event'
    assert attributes == {"Reason": "no event: line 1\ufffd\ufffd", "Error": "BadMessage", "Function": "record_push"}


@pytest.mark.parametrize("reason", ["", "   ", "ä" * 5000, "\ud800"])
def test_a_dead_letter_can_have_any_reason(cloud: None, reason: str) -> None:
    sqs = aws_mock.client("sqs")
    url = sqs.create_queue(QueueName="dead")["QueueUrl"]
    DeadLetters(sqs, url).send("x", reason, "E", "f")
    (message,) = messages(sqs, url)
    assert 0 < len(message["MessageAttributes"]["Reason"]["StringValue"].encode()) <= 1024


def test_a_missing_queue_is_not_found(cloud: None) -> None:
    url = f"https://sqs.{aws_mock.REGION}.amazonaws.com/123456789012/nowhere"
    with pytest.raises(NotFound, match="promote"):
        SqsHints(aws_mock.client("sqs"), {"promote": url}).send("promote", {})


# --- Notices and announcements


@dataclass
class NoticesSetup:
    notices: Notices
    published: Callable[[], list[tuple[str, str, dict[str, str]]]]


@pytest.fixture(params=["fake", "sns"])
def notices_setup(request: pytest.FixtureRequest) -> Iterator[NoticesSetup]:
    if request.param == "fake":
        fake = FakeNotices()
        yield NoticesSetup(fake, lambda: fake.published)
        return
    with aws_mock.aws():
        sns, sqs = aws_mock.client("sns"), aws_mock.client("sqs")
        topic = sns.create_topic(Name="notices")["TopicArn"]
        url = sqs.create_queue(QueueName="inbox")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

        def published() -> list[tuple[str, str, dict[str, str]]]:
            found = [json.loads(m["Body"]) for m in messages(sqs, url)]
            return [
                (m["Subject"], m["Message"], {k: v["Value"] for k, v in m.get("MessageAttributes", {}).items()})
                for m in found
            ]

        yield NoticesSetup(SnsNotices(sns, topic), published)


def test_a_notice_is_published_with_its_subject_text_and_attributes(notices_setup: NoticesSetup) -> None:
    notices_setup.notices.publish("v1 is refused for prod", "v1 is refused for prod: 1 finding…", {"kind": "refused"})
    assert notices_setup.published() == [
        ("v1 is refused for prod", "v1 is refused for prod: 1 finding…", {"kind": "refused"})
    ]


def test_a_channel_is_the_topic_beside_the_stacks_own(cloud: None) -> None:
    sns, sqs = aws_mock.client("sns"), aws_mock.client("sqs")
    own = sns.create_topic(Name="tally-notices")["TopicArn"]
    channel = sns.create_topic(Name="tally-chat-releases")["TopicArn"]
    url = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=channel, Protocol="sqs", Endpoint=arn)
    notices = SnsNotices(sns, own)
    notices.post("releases", {"version": "1.0", "source": "custom"})
    (message,) = messages(sqs, url)
    assert json.loads(json.loads(message["Body"])["Message"]) == {"version": "1.0", "source": "custom"}
    with pytest.raises(NotFound, match="channel security"):
        notices.post("security", {})


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("plain", "plain"),
        ("two\nlines\r\n\tand more", "two lines and more"),
        ("dev → prod — São Paulo…", "dev -> prod - S o Paulo..."),
        ("", "Tallyman"),
        ("\x1b\x00", "Tallyman"),
        ("x" * 101, "x" * 97 + "..."),
        ("x" * 100, "x" * 100),
    ],
)
def test_a_subject_is_valid_for_sns(text: str, subject: str) -> None:
    assert subject_of(text) == subject


def test_any_notice_can_be_published(cloud: None) -> None:
    sns = aws_mock.client("sns")
    notices = SnsNotices(sns, sns.create_topic(Name="notices")["TopicArn"])
    notices.publish("\n" * 200, "", {"environment": "", "kind": "x"})
    notices.publish("é" * 200, "é" * 200_000, {})


def test_an_announcement_is_an_event_with_our_source() -> None:
    bus = Replies({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]})
    fake = FakeAnnouncements()
    ports: list[Announcements] = [fake, BusAnnouncements(bus, "tallyman")]
    for port in ports:
        port.emit("Image Released", {"digest": digest_of("app")})
    assert fake.emitted == [("Image Released", {"digest": digest_of("app")})]
    ((_, request),) = bus.asked
    (entry,) = request["Entries"]
    assert json.loads(entry.pop("Detail")) == {"digest": digest_of("app")}
    assert entry == {"Source": "tallyman", "DetailType": "Image Released", "EventBusName": "tallyman"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [("ThrottlingException", Throttled), ("InternalFailure", Unreachable), ("Whatever", Unreachable)],
)
def test_a_refused_announcement_is_an_error_although_the_answer_is_200(code: str, expected: type) -> None:
    bus = Replies({"FailedEntryCount": 1, "Entries": [{"ErrorCode": code, "ErrorMessage": "not now"}]})
    with pytest.raises(expected, match="not now"):
        BusAnnouncements(bus, "tallyman").emit("Image Released", {})


class Replies:
    """A client whose every method returns the next of these answers, or raises it."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, dict[str, Any]]]()

    def get(self, service: str, registry: EcrRegistry | None = None, power: str = "read") -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            self.asked.append((name, request))
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


# --- People


@dataclass
class PeopleSetup:
    people: People
    ids: dict[str, str]


@pytest.fixture(params=["fake", "iam"])
def people_setup(request: pytest.FixtureRequest) -> Iterator[PeopleSetup]:
    if request.param == "fake":
        ids = {"role/release-managers": "AROA1", "role/dev": "AROA2", "user/ana": "AIDA1", "role/aws/sso/Ops": "AROA3"}
        yield PeopleSetup(FakePeople(ids), ids)
        return
    with aws_mock.aws():
        iam = aws_mock.client("iam")
        roles = {
            f"role{path}{name}": iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument="{}")["Role"][
                "RoleId"
            ]
            for path, name in (("/", "release-managers"), ("/", "dev"), ("/aws/sso/", "Ops"))
        }
        roles["user/ana"] = iam.create_user(UserName="ana")["User"]["UserId"]
        yield PeopleSetup(IamPeople(iam), roles)


def test_a_sender_is_identified_by_its_unique_id(people_setup: PeopleSetup) -> None:
    allowed = ["role/nobody", "role/dev", "role/release-managers", "user/ana", "role/aws/sso/Ops"]
    for entry in allowed[1:]:
        session = ":session-1" if entry.startswith("role/") else ""
        assert people_setup.people.principal(people_setup.ids[entry] + session, allowed) == entry


def test_an_unlisted_sender_is_not_identified(people_setup: PeopleSetup) -> None:
    sender = people_setup.ids["role/dev"] + ":session"
    assert people_setup.people.principal(sender, ["role/release-managers"]) is None
    assert people_setup.people.principal(sender, []) is None
    assert people_setup.people.principal("", ["role/dev", "role/nobody"]) is None
    assert people_setup.people.principal("AROAOTHER:release-managers", ["role/release-managers"]) is None


def test_ids_are_read_once_in_five_minutes() -> None:
    now = [0.0]
    iam = Replies({"Role": {"RoleId": "AROA1"}}, {"Role": {"RoleId": "AROA2"}})
    people = IamPeople(iam, clock=lambda: now[0])
    for _ in range(3):
        assert people.principal("AROA1:s", ["role/x"]) == "role/x"
    now[0] = 301
    assert people.principal("AROA1:s", ["role/x"]) is None
    assert len(iam.asked) == 2


def test_a_role_created_after_the_last_read_is_known_at_once() -> None:
    iam = Replies({"Role": {"RoleId": "AROA1"}}, {"Role": {"RoleId": "AROA2"}}, {"Role": {"RoleId": "AROA2"}})
    people = IamPeople(iam, clock=lambda: 0.0)
    assert people.principal("AROA1:s", ["role/x"]) == "role/x"
    assert people.principal("AROA2:s", ["role/x"]) == "role/x"
    assert people.principal("AROA1:s", ["role/x"]) is None
    assert len(iam.asked) == 3


# --- Trail

HOUR = timedelta(hours=1)
ACTOR = "arn:aws:sts::111111111111:assumed-role/ci/build-1"


def record(name: str, minutes: int = 0, request: Any = None, response: Any = None, **more: Any) -> dict[str, Any]:
    at = NOON + timedelta(minutes=minutes)
    made: dict[str, Any] = api_call_event(DEV, name, actor=ACTOR, request=request, response=response, at=at)["detail"]
    return made | {"eventID": f"{name}-{minutes}"} | more


def put(tag: str, minutes: int) -> dict[str, Any]:
    image_id = {"imageTag": tag, "imageDigest": digest_of(tag)}
    return record(
        "PutImage",
        minutes,
        {"imageTag": tag, "imageManifest": "{}" * 1000},
        {"image": {"imageId": image_id, "repositoryName": DEV.name}},
    )


class LookedUp:
    """The clients of a registry whose CloudTrail is the local cloud's."""

    def __init__(self, *records: dict[str, Any]) -> None:
        self.trail, self.requests, self.refuses_tokens = LocalTrail(), 0, False
        for one in records:
            self.trail.record(one)

    def get(self, service: str, registry: EcrRegistry, power: str = "read") -> Any:
        self.registry = registry
        return self

    def lookup_events(self, **request: Any) -> Any:
        self.requests += 1
        if self.refuses_tokens and "NextToken" in request:
            error = {"Code": "InvalidNextTokenException", "Message": "The token has expired."}
            raise ClientError(cast(Any, {"Error": error}), "LookupEvents")
        answer = self.trail.lookup(request, self.registry.account, self.registry.region)
        for event in answer["Events"]:
            event["EventTime"] = datetime.fromtimestamp(event["EventTime"], UTC)  # as boto3 does
        return answer


def waits() -> None:
    """A deadline in the future."""


def read_all(trail: Trail, registry: EcrRegistry, since: datetime, until: datetime) -> list[ApiCall]:
    """The calls of all pages, oldest first."""
    found: list[ApiCall] = []
    position: str | None = None
    while True:
        page = trail.page(registry, since, until, position, waits)
        found += page.calls
        position = page.position
        if position is None:
            return sorted(found, key=lambda call: call.at)


def trails(*records: dict[str, Any]) -> list[Trail]:
    clients: Any = LookedUp(*records)
    return [FakeTrail([c for r in records for c in calls_of(r, DEV.registry)]), CloudTrail(clients, rate=0)]


def test_calls_are_oldest_first_with_their_callers() -> None:
    for trail in trails(put("v2", 2), put("v1", 1), put("v3", 3)):
        found = read_all(trail, DEV.registry, NOON, NOON + HOUR)
        assert [(c.name, c.tag, c.digest) for c in found] == [("PutImage", t, digest_of(t)) for t in ("v1", "v2", "v3")]
        assert {(c.actor, c.repository) for c in found} == {(ACTOR, DEV)}
        assert found[0].at == NOON + timedelta(minutes=1)
        assert "imageManifest" not in found[0].parameters


def test_only_calls_of_the_requested_time_and_registry_are_read() -> None:
    for trail in trails(*(put(f"v{n}", n) for n in range(6))):
        found = read_all(trail, DEV.registry, NOON + timedelta(minutes=1), NOON + timedelta(minutes=3))
        assert [c.tag for c in found] == ["v1", "v2", "v3"]
        assert read_all(trail, PROD.registry, NOON, NOON + HOUR) == []


def test_read_only_calls_are_left_out_and_all_pages_read() -> None:
    clients: Any = LookedUp(*(record("BatchGetImage", 1, n=n) for n in range(120)), put("v1", 2))
    found = read_all(CloudTrail(clients, rate=0), DEV.registry, NOON, NOON + HOUR)
    assert [c.tag for c in found] == ["v1"]
    assert clients.requests == len(CHANGES)  # no pull is read, however many there are


@pytest.mark.parametrize("dead_tokens", [False, True])
def test_another_process_continues_from_any_position_even_with_an_expired_token(dead_tokens: bool) -> None:
    clients = LookedUp(*(put(f"v{n}", n // 3) | {"eventID": str(n)} for n in range(170)))
    found: set[str] = set()
    position, requests = None, 0
    while True:
        clients.refuses_tokens = dead_tokens
        page = CloudTrail(cast(Any, clients), rate=0).page(DEV.registry, NOON, NOON + HOUR, position, waits)
        found |= {call.id for call in page.calls}
        requests += 1
        position = page.position
        if position is None:
            break
    assert found == {str(n) for n in range(170)}
    assert requests <= len(CHANGES) + (4 if dead_tokens else 3)


def test_a_call_of_the_same_name_of_another_service_is_ignored() -> None:
    other = record("CreateRepository", 1) | {"eventSource": "codecommit.amazonaws.com"}
    clients: Any = LookedUp(other, put("v1", 2))
    found = read_all(CloudTrail(clients, rate=0), DEV.registry, NOON, NOON + HOUR)
    assert [c.name for c in found] == ["PutImage"]


def test_a_batch_deletion_is_one_call_per_deleted_image() -> None:
    ids = [{"imageTag": "v1", "imageDigest": digest_of("v1")}, {"imageDigest": digest_of("v2")}]
    failed = [{"imageId": {"imageTag": "v9"}, "failureCode": "ImageNotFound"}]
    request = {"imageIds": [{"imageTag": "v1"}, {"imageDigest": digest_of("v2")}, {"imageTag": "v9"}]}
    found = calls_of(record("BatchDeleteImage", 1, request, {"imageIds": ids, "failures": failed}), DEV.registry)
    assert [(c.tag, c.digest) for c in found] == [("v1", digest_of("v1")), (None, digest_of("v2"))]
    assert len({c.id for c in found}) == 2
    nothing = record("BatchDeleteImage", 1, request, {"imageIds": [], "failures": failed})
    assert calls_of(nothing, DEV.registry) == []


def test_an_expiry_by_a_lifecycle_policy_is_a_call_of_the_service() -> None:
    """The format of a PolicyExecutionEvent: no parameters, the images under serviceEventDetails."""
    images = [
        {"lifecycleEventImage": {"digest": digest_of("a"), "tagStatus": "Tagged", "tagList": ["a1", "a2"]}},
        {"lifecycleEventImage": {"digest": digest_of("b"), "tagStatus": "Untagged", "tagList": []}},
        {"lifecycleEventImage": {"digest": "sha256:cut off", "tagStatus": "Tagged", "tagList": ["c"]}},
    ]
    event = record("PolicyExecutionEvent", 1) | {
        "userIdentity": {"accountId": DEV.registry.account, "invokedBy": "AWS Internal"},
        "requestParameters": None,
        "responseElements": None,
        "serviceEventDetails": {"repositoryName": DEV.name, "lifecycleEventImageActions": images},
    }
    found = calls_of(event, DEV.registry)
    a, b = digest_of("a"), digest_of("b")
    assert [(c.tag, c.digest) for c in found] == [("a1", a), ("a2", a), (None, b), ("c", None)]
    assert {(c.actor, c.repository) for c in found} == {("AWS Internal", DEV)}


def test_a_settings_change_has_no_image() -> None:
    (found,) = calls_of(record("PutImageTagMutability", 1, {"imageTagMutability": "MUTABLE"}), DEV.registry)
    assert (found.tag, found.digest) == (None, None)
    assert found.parameters["imageTagMutability"] == "MUTABLE"


def test_a_call_that_failed_changed_nothing() -> None:
    assert calls_of(put("v1", 1) | {"errorCode": "ImageTagAlreadyExistsException"}, DEV.registry) == []


def test_a_call_to_another_accounts_registry_changed_nothing_here() -> None:
    """Its caller's event history shows it too. Recorded here, it would be a push that never happened."""
    request = {"imageTag": "v1", "registryId": "999999999999"}
    assert calls_of(record("PutImage", 1, request), DEV.registry) == []
    (found,) = calls_of(record("PutImage", 1, request | {"registryId": DEV.registry.account}), DEV.registry)
    assert found.repository == DEV


def test_an_event_without_a_record_is_skipped() -> None:
    """CloudTrail's model makes `CloudTrailEvent` optional, like every member of an event."""
    event = {"EventName": "PutImage", "CloudTrailEvent": json.dumps(put("v1", 1))}
    clients: Any = Replies({"Events": [{"EventName": "PutImage"}, event]}, *[{"Events": []}] * len(CHANGES))
    found: list[ApiCall] = read_all(CloudTrail(clients, rate=0), DEV.registry, NOON, NOON + HOUR)
    assert [c.tag for c in found] == ["v1"]


def test_a_throttled_lookup_waits_and_continues() -> None:
    throttled = ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "LookupEvents")
    event = {"EventName": "PutImage", "CloudTrailEvent": json.dumps(put("v1", 1))}
    clients: Any = Replies(throttled, throttled, {"Events": [event]}, *[{"Events": []}] * len(CHANGES))
    found: list[ApiCall] = read_all(CloudTrail(clients, rate=0), DEV.registry, NOON, NOON + HOUR)
    assert [c.tag for c in found] == ["v1"]
    clients = Replies(*[throttled] * 6)
    with pytest.raises(Throttled):
        read_all(CloudTrail(clients, rate=0), DEV.registry, NOON, NOON + HOUR)
