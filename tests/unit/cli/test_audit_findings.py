"""`tallyman audit`: each finding says what, where, since when, why it matters and what to do."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import DEV, NOON, PROD, PROD_SA, digest_of, fact, image
from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.ecr.settings import EcrSettings
from tallyman.adapters.files import policy_file
from tallyman.domain.history.details.promotions import Intended, TaggingBegun
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest, Repository
from tallyman.domain.push_protection import Flaw, Problem, only_push
from tallyman.errors import NotAllowed
from tallyman.state import active as active_items
from tallyman.state import guards, images, noncompliant, pending, releases, tags
from tallyman.state.active import ACTIVE
from tallyman.state.guards import GUARDS, GuardState
from tallyman.state.images import IMAGES, HeldImage
from tallyman.state.items import ItemKind, Key
from tallyman.state.noncompliant import NONCOMPLIANT, NoncompliantImage
from tallyman.state.pending import PENDING, Pending
from tallyman.state.releases import RELEASES, ReleaseState
from tallyman.state.tags import TAGS, Tag
from tallyman_cli.audit.finding import Finding
from tallyman_cli.audit.images import findings as of_images
from tallyman_cli.audit.repositories import Repositories
from tallyman_cli.doctor.finding import Finding as Checked
from tallyman_cli.doctor.finding import Site
from tallyman_cli.doctor.replication import replications
from tallyman_cli.doctor.repositories import NO_CLEAN_UP, repositories

NAME = DEV.name
WEEK_AGO = NOON - timedelta(days=7)
APP, OTHER = digest_of("app"), digest_of("other")
GUARDED = POLICY.replace("scan_on_push: true}", "scan_on_push: true, push: tallyman-only}", 1)
RETAINED = "    retention: {keep: [{newest: 5}], enforce: true}\n"


class FakeEcrSettings:
    """`EcrSettings`, with the calls that an audit makes to correct settings."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given: self.calls.append((name, given))


class AuditedStack(FakeStack):
    """A stack without findings."""

    def __init__(self, policy: str = POLICY + RETAINED) -> None:
        super().__init__(policy_file.loads(policy.encode(), "tallyman.yaml"))
        self.setter = FakeEcrSettings()
        self.remarks: list[str] = []
        for place in (PROD, PROD_SA):
            self.registries.add(place)
        for place in (DEV, PROD, PROD_SA):
            self.put(ACTIVE, active_items.key(place), active_items.Active(NOON))

    def put(self, kind: ItemKind[Any], key: Key, value: Any) -> None:
        self.state.put(kind.read(self.state, key).write(value))

    def tag(self, place: Repository, tag: str, digest: Digest) -> None:
        self.put(TAGS, tags.key(place, tag), Tag(digest, WEEK_AGO))

    def images(self) -> list[Finding]:
        return list(of_images(self.stack))

    def repositories(self) -> list[Finding]:
        setter = cast(EcrSettings, self.setter)
        return list(Repositories(self.stack, self.replication, setter, self.remarks.append).findings())


def only(found: list[Finding]) -> Finding:
    (one,) = found
    assert one.why
    assert one.todo
    return one


def test_a_correct_stack_has_no_findings() -> None:
    audited = AuditedStack()
    for place in (DEV, PROD, PROD_SA):
        audited.tag(place, "v1.0.0", APP)
    assert audited.images() == audited.repositories() == []
    assert audited.remarks == []


def stowaway(audited: AuditedStack) -> None:
    found = fact(Kind.STOWAWAY, APP, PROD, "v6.6.6", at=WEEK_AGO, actor="arn:aws:iam::222222222222:user/eve")
    audited.ledger.append(replace(found, detail={"environment": "prod"}))
    audited.put(IMAGES, images.key(PROD, APP), HeldImage(present=True, archived=False))


def test_a_stowaway_is_found_with_who_pushed_it() -> None:
    audited = AuditedStack()
    stowaway(audited)
    found = only(audited.images())
    assert (found.kind, found.where, found.since, found.mend) == ("stowaway", str(PROD), WEEK_AGO, None)
    assert f"{NAME}:v6.6.6 ({APP}) is in prod without a promotion" in found.what
    assert "pushed by arn:aws:iam::222222222222:user/eve" in found.what
    assert f"tallyman recall prod/{NAME}@{APP}" in found.todo


@pytest.mark.parametrize("ended", ["removed", "promoted since"])
def test_a_removed_or_promoted_stowaway_is_no_finding(ended: str) -> None:
    audited = AuditedStack()
    stowaway(audited)
    if ended == "removed":
        audited.put(IMAGES, images.key(PROD, APP), HeldImage(present=False, archived=False))
    else:
        result = Intended("prod", [str(PROD.registry)], NAME, NAME, APP)
        audited.ledger.append(replace(fact(Kind.INTENDED, APP), detail=result.dump()))
        begun = TaggingBegun("prod", "dev", NAME, ["v6.6.6"])
        audited.ledger.append(replace(fact(Kind.TAGGING, APP), detail=begun.dump()))
    assert audited.images() == []


def test_a_tag_that_differs_between_the_registries_of_an_environment_is_found() -> None:
    audited = AuditedStack()
    audited.tag(PROD, "latest", APP)
    audited.tag(PROD_SA, "latest", OTHER)
    found = only(audited.images())
    assert (found.kind, found.where, found.since) == ("tags_differ", "prod", WEEK_AGO)
    assert found.what == f"{NAME}:latest is {APP} in {PROD.registry}, {OTHER} in {PROD_SA.registry}"


def test_a_tag_missing_in_one_registry_is_found_unless_a_promotion_is_setting_it() -> None:
    audited = AuditedStack()
    audited.tag(PROD, "v1.0.0", APP)
    found = only(audited.images())
    assert (found.kind, found.what) == (
        "tags_differ",
        f"{NAME}:v1.0.0 is {APP} in {PROD.registry}, nothing in {PROD_SA.registry}",
    )
    waits = Pending(
        digest=APP,
        name=NAME,
        source="dev",
        target="prod",
        tags=("v1.0.0",),
        verdict="passed",
        gate=None,
        reason=None,
        since=NOON,
        until=None,
        decided=None,
        noticed=False,
        tagging_since=NOON,
    )
    audited.put(PENDING, pending.key("prod", NAME, APP, "dev"), waits)
    assert audited.images() == []


def test_a_version_that_names_two_images_in_two_environments_is_found() -> None:
    audited = AuditedStack()
    audited.tag(DEV, "v1.0.0", APP)
    audited.tag(DEV, "latest", APP)  # no version
    for place in (PROD, PROD_SA):
        audited.tag(place, "v1.0.0", OTHER)
        audited.tag(place, "latest", OTHER)
    found = only(audited.images())
    assert (found.kind, found.where, found.since) == ("versions_differ", "dev, prod", WEEK_AGO)
    assert found.what == f"{NAME}:v1.0.0 is {APP} in dev, {OTHER} in prod"


def release(audited: AuditedStack, digest: Digest) -> None:
    state = ReleaseState("r1", digest, ("v1.0.0",), "sha256:0", NOON, None, announced=True)
    audited.put(RELEASES, releases.key("prod", NAME), state)


def test_a_release_without_its_image_is_found_with_the_removals_time() -> None:
    audited = AuditedStack()
    built = image("app")
    audited.registries.push(PROD, built, "v1.0.0")
    release(audited, built.digest)
    audited.ledger.append(fact(Kind.DELETED, built.digest, PROD_SA, at=WEEK_AGO))
    found = only(audited.images())
    assert (found.kind, found.where, found.since) == ("release_gone", str(PROD_SA), WEEK_AGO)
    assert f"prod releases {NAME}@{built.digest} (v1.0.0): it is gone" in found.what


def test_an_unreadable_release_is_found_as_unread() -> None:
    audited = AuditedStack()
    built = image("app")
    audited.registries.push(PROD, built, "v1.0.0")
    release(audited, built.digest)
    audited.registries.fail(PROD_SA.registry, NotAllowed("AccessDenied"))
    found = only(audited.images())
    assert (found.kind, found.where) == ("unread", str(PROD_SA))
    assert "AccessDenied" in found.what


def test_a_noncompliant_release_is_found_with_its_gates() -> None:
    audited = AuditedStack()
    gates = ({"name": "scan", "verdict": "failed", "reason": "2 critical"},)
    watched = NoncompliantImage(APP, NAME, "dev", "prod", ("v1.0.0",), gates, "sha256:0", WEEK_AGO)
    audited.put(NONCOMPLIANT, noncompliant.key("prod", NAME, APP, "dev"), watched)
    found = only(audited.images())
    assert (found.kind, found.where, found.since) == ("would_not_pass", "prod", WEEK_AGO)
    assert found.what == f"prod/{NAME}:v1.0.0 would not pass its gates today: scan: 2 critical"


@pytest.mark.parametrize(
    ("settings", "kinds", "mends"),
    [
        ({"immutable": False, "mutable_tags": ()}, ["setting_immutable", "setting_mutable_tags"], "set_mutability"),
        ({"mutable_tags": ("latest", "*")}, ["setting_mutable_tags"], "set_mutability"),
        ({"scan_on_push": False}, ["setting_scan_on_push"], "set_scanning"),
        ({"encryption": "KMS"}, ["setting_encryption"], None),
    ],
)
def test_a_setting_that_differs_from_the_policy_is_found_and_corrected_if_possible(
    settings: dict[str, Any], kinds: list[str], mends: str | None
) -> None:
    audited = AuditedStack()
    audited.registries.add(PROD, **settings)
    audited.ledger.append(fact(Kind.SETTINGS_CHANGED, None, PROD, at=WEEK_AGO, call="x", settings={}))
    found = audited.repositories()
    assert [each.kind for each in found] == kinds
    for each in found:
        assert (each.where, each.since) == (str(PROD), WEEK_AGO)
        assert "the policy wants" in each.what
        assert (each.mend is None) == (mends is None)
        assert ("--fix" in each.todo) == (mends is not None)
        if each.mend is not None:
            each.mend()
    assert {name for name, _ in audited.setter.calls} == ({mends} if mends else set())


def test_a_key_that_differs_from_the_policy_is_found() -> None:
    audited = AuditedStack(POLICY.replace("encryption: AES256", "encryption: KMS, kms_key: alias/images") + RETAINED)
    for place in (DEV, PROD, PROD_SA):
        audited.registries.add(place, encryption="KMS", kms_key=None if place == PROD else "arn:aws:kms:x:1:key/k")
    found = only(audited.repositories())
    assert (found.kind, found.where, found.mend) == ("setting_kms_key", str(PROD), None)


def protected(audited: AuditedStack, **more: Any) -> None:
    """The statement that repository creation sets, in every target; `more`: other values of it."""
    for place in (PROD, PROD_SA):
        allowed = [f"arn:aws:iam::{place.registry.account}:role/tallyman-spoke-push"]
        audited.guards.policies[place] = {"Version": "2012-10-17", "Statement": [only_push(allowed) | more]}


def test_a_repository_open_to_pushes_is_found_and_its_other_statements_kept() -> None:
    audited = AuditedStack(GUARDED + RETAINED)
    protected(audited)
    assert audited.repositories() == []
    other = {"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "ecr:DescribeImages"}
    audited.guards.policies[PROD] = {"Statement": [other]}
    audited.guards.problems[PROD] = Problem(Flaw.CHANGED, "anybody of the account can push")
    audited.put(GUARDS, guards.key(PROD), GuardState("anybody of the account can push", WEEK_AGO, notified=True))
    open_to_pushes, open_to_all = audited.repositories()
    assert (open_to_pushes.kind, open_to_pushes.where, open_to_pushes.since) == ("open_to_pushes", str(PROD), WEEK_AGO)
    assert open_to_pushes.what == "anybody of the account can push"
    assert (open_to_all.kind, open_to_all.mend) == ("open_to_all", None)
    assert open_to_pushes.mend is not None
    open_to_pushes.mend()
    ((name, (place, document)),) = audited.setter.calls
    assert (name, place, [s["Sid"] for s in document["Statement"]]) == (
        "set_policy",
        PROD,
        ["OnlyTallymanPushes", "Theirs"],
    )


def test_another_form_of_everybody_is_the_same_statement() -> None:
    audited = AuditedStack(GUARDED + RETAINED)
    protected(audited, Principal={"AWS": "*"})
    assert audited.repositories() == []


def test_a_repository_policy_without_its_pull_accounts_is_found() -> None:
    audited = AuditedStack(
        POLICY.replace("scan_on_push: true}", 'scan_on_push: true, pull: ["333333333333"]}', 1) + RETAINED
    )
    found = {each.where: each for each in audited.repositories()}
    assert set(found) == {str(DEV), str(PROD), str(PROD_SA)}
    assert {each.kind for each in found.values()} == {"repository_policy"}
    assert found[str(PROD)].what == "the repository's policy lacks Pull, LambdaPulls or has them changed"


def allow(principal: Any, *actions: str) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": list(actions)}]}


@pytest.mark.parametrize(
    "action",
    ["ecr:PutImage", "ecr:Put*", "ecr:*", "*", "ecr:InitiateLayerUpload", "ECR:putimage", "ecr:P?tIm*", "ecr:C*"],
)
def test_a_statement_that_allows_others_to_push_to_a_target_is_found(action: str) -> None:
    audited = AuditedStack()
    eve = "arn:aws:iam::999999999999:role/eve"
    audited.guards.policies = {place: allow({"AWS": [eve]}, "ecr:DescribeImages", action) for place in (DEV, PROD)}
    found = only(audited.repositories())  # dev is filled by pushes
    assert (found.kind, found.where, found.mend) == ("others_push", str(PROD), None)
    assert eve in found.what


@pytest.mark.parametrize(
    ("statement", "who"),
    [
        ({"Principal": {"Service": "evil.amazonaws.com"}, "Action": "ecr:PutImage"}, "evil.amazonaws.com"),
        ({"NotPrincipal": {"AWS": "arn:aws:iam::222222222222:root"}, "Action": "ecr:PutImage"}, "everybody but some"),
        ({"Principal": {"AWS": "999999999999"}, "NotAction": ["ecr:BatchDeleteImage"]}, "999999999999"),
    ],
)
def test_other_forms_of_push_permission_are_found(statement: dict[str, Any], who: str) -> None:
    audited = AuditedStack()
    audited.guards.policies[PROD] = {"Statement": {"Effect": "Allow", "Condition": {"Bool": {"a": "b"}}, **statement}}
    found = only(audited.repositories())
    assert (found.kind, found.what) == ("others_push", f"the repository's policy lets {who} push")


def test_a_statement_that_allows_pulls_or_denies_pushes_is_no_finding() -> None:
    audited = AuditedStack()
    pulls = allow({"AWS": "arn:aws:iam::999999999999:root"}, "ecr:BatchGetImage")
    audited.guards.policies[PROD] = {
        "Statement": [
            *pulls["Statement"],
            {"Effect": "Deny", "Principal": "*", "Action": "ecr:PutImage"},
            {"Effect": "Allow", "Principal": {"AWS": "999999999999"}, "NotAction": ["ecr:*"]},
        ]
    }
    assert audited.repositories() == []


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"Statement": 5}', "[" * 100_000])
def test_an_unreadable_repository_policy_is_found_and_the_audit_continues(text: str) -> None:
    audited = AuditedStack()
    audited.guards.policies[PROD] = text
    audited.replication.reached = [PROD_SA.registry]
    found = audited.repositories()
    assert ("unread", str(PROD)) in {(each.kind, each.where) for each in found}
    assert [each.kind for each in found].count("delete_replication") == 3


def test_ecrs_own_lifecycle_policy_in_a_target_is_found() -> None:
    audited = AuditedStack()
    audited.lifecycles.update({DEV: "{}", PROD: "{}"})
    found = only(audited.repositories())
    assert (found.kind, found.where) == ("lifecycle_policy", str(PROD))


def doctors(audited: AuditedStack) -> dict[str, Checked]:
    found = repositories(Site(audited.stack, "tallyman", lambda service, region: None))
    return {each.found.partition(": ")[0]: each for each in found}


def test_a_repository_without_cleanup_is_a_remark_of_audit_and_doctor() -> None:
    audited = AuditedStack(POLICY)
    audited.lifecycles[PROD_SA] = "{}"
    audited.registries.add(DEV)
    assert [(each.kind, each.where) for each in audited.repositories()] == [("lifecycle_policy", str(PROD_SA))]
    assert audited.remarks == [f"{DEV}, {PROD}: {NO_CLEAN_UP}"]
    checked = doctors(audited)
    assert {each.verdict for each in checked.values()} == {"ok"}
    assert {place for place, each in checked.items() if NO_CLEAN_UP in each.found} == {str(DEV), str(PROD)}


def test_at_most_three_repositories_without_cleanup_are_named() -> None:
    audited = AuditedStack(POLICY)
    for number in range(3):
        audited.registries.add(Repository(PROD.registry, f"rocketseat/app{number}"))
    assert audited.repositories() == []
    assert audited.remarks[0].endswith(f" and 3 more: {NO_CLEAN_UP}")


def test_a_repository_unreadable_for_the_doctor_does_not_stop_the_others() -> None:
    audited = AuditedStack()
    after = Repository(PROD.registry, "rocketseat/zebra")
    audited.registries.add(after, scan_on_push=False)
    audited.guards.policies[PROD] = "{"
    found = doctors(audited)
    assert found[str(PROD)].verdict == "unknown"
    assert found[str(after)].verdict == "warning"


def test_a_replicated_registry_is_listed_once() -> None:
    text = POLICY.replace("sa-east-1]}", "sa-east-1], replicate: native}")
    assert "native" in text
    audited = AuditedStack(text + RETAINED)
    ecr = SimpleNamespace(describe_registry=dict)
    audited.stack.clients = lambda: cast(Clients, SimpleNamespace(get=lambda *_: ecr))
    site = Site(audited.stack, "tallyman", lambda service, region: None)
    for look in (audited.repositories, lambda: [*repositories(site), *replications(site)]):
        audited.registries.requests.clear()
        assert look()
        listed = [where for call, where, _ in audited.registries.requests if call == "repositories"]
        assert listed == [DEV.registry, PROD.registry, PROD_SA.registry]


def test_replication_of_deletions_is_found() -> None:
    audited = AuditedStack()
    audited.replication.reached = [PROD_SA.registry]
    found = audited.repositories()
    assert {each.kind for each in found} == {"delete_replication"}
    assert f"a removal here removes in {PROD_SA.registry} too" in found[0].what


def test_an_unreadable_registry_is_found_and_does_not_stop_the_others() -> None:
    audited = AuditedStack()
    audited.registries.fail(PROD.registry, NotAllowed("AccessDenied"))
    audited.registries.add(PROD_SA, scan_on_push=False)
    assert [(each.kind, each.where) for each in audited.repositories()] == [
        ("unread", str(PROD.registry)),
        ("setting_scan_on_push", str(PROD_SA)),
    ]
