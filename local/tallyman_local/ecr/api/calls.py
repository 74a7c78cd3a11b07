"""The input of an operation of the JSON API, and the table of the operations that are served."""

import base64
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from tallyman.domain.names import EcrRegistry, Repository
from tallyman.domain.permissions import CALLS, Need
from tallyman_local.ecr import errors
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.policies import allows, statements
from tallyman_local.ecr.rules import creation
from tallyman_local.ecr.rules.backfills import Backfills
from tallyman_local.ecr.rules.events import Events
from tallyman_local.ecr.rules.images import Images
from tallyman_local.ecr.rules.quotas import Quotas
from tallyman_local.ecr.rules.replication import Replication
from tallyman_local.ecr.rules.scanner import Scanner
from tallyman_local.ecr.rules.signing import Signing
from tallyman_local.ecr.store.rows import ImageRow, RepositoryRow
from tallyman_local.ecr.store.settings import Settings
from tallyman_local.ecr.store.tables import Store
from tallyman_local.ecr.store.tokens import Tokens

Allow = Callable[[Identity, str, str], bool]
Answer = dict[str, Any]
T = TypeVar("T")
PAGE = 100
_ALLOW_ALL = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}


@dataclass(frozen=True)
class Parts:
    """The parts that the JSON API and `/v2/` share."""

    store: Store
    events: Events
    images: Images
    scanner: Scanner
    tokens: Tokens
    settings: Settings
    quotas: Quotas
    replication: Replication
    backfills: Backfills
    signing: Signing
    clock: Callable[[], datetime]
    endpoint_of: Callable[[EcrRegistry], str]
    allow: Allow | None

    def permit(self, identity: Identity, action: str, registry: EcrRegistry, repository: str | None) -> None:
        """Raise AccessDeniedException unless the identity may call the operation `action`.

        Of the policies of the repository and of the registry (where its scope is V2) only denials are enforced: an
        allowance is not needed, since here every account may use every registry.
        """
        arn = Repository(registry, repository).arn if repository else "*"
        own = Need(f"ecr:{action}", "repository" if repository else "")  # for calls that Tallyman never makes
        for need in CALLS.get(own.action, (own,)) if self.allow else ():
            for resource in self._resources(need, registry, repository):
                if self.allow and not self.allow(identity, need.action, resource):
                    raise errors.denied(identity.arn, need.action, resource)
        row = self.store.find(Repository(registry, repository)) if repository else None
        policies = [row.policy if row else None]
        if self.settings.account(registry, "REGISTRY_POLICY_SCOPE") == "V2":
            policies.append(self.settings.policy(registry))
        if any(policy and self._denies(policy, identity, f"ecr:{action}", arn) for policy in policies):
            raise errors.denied_explicitly(identity.arn, f"ecr:{action}", arn)

    def _resources(self, need: Need, registry: EcrRegistry, repository: str | None) -> list[str]:
        """The ARNs on which a need of a call is checked; empty where it does not apply. The permissions for enhanced
        scanning are always checked: the local ECR has no such setting."""
        if need.resource == "repository":
            name = repository or "*"
            return [f"arn:aws:ecr:{registry.region}:{registry.account}:repository/{name}"]
        if need.resource == "signing-profile":
            return self.signing.profiles(Repository(registry, repository)) if repository else []
        return [] if need.resource == "key" else ["*"]  # there are no customer keys here

    def create_on_push(self, identity: Identity, name: Repository) -> None:
        """Create a missing repository where a template with CREATE_ON_PUSH matches and the identity may."""
        if self.store.find(name) or (template := self.settings.template(name, "CREATE_ON_PUSH")) is None:
            return
        self.permit(identity, "CreateRepository", name.registry, name.name)
        with suppress(EcrError):  # another push was faster, or a quota refuses: then the push finds no repository
            creation.from_template(self.store, self.quotas, name, template, self.clock().timestamp())
            asked = {"repositoryName": name.name, "registryId": name.registry.account}
            self.events.call("CreateRepository", name.registry, identity, asked, {"repository": asked})

    @staticmethod
    def _denies(policy: str, identity: Identity, action: str, arn: str) -> bool:
        denying = [s for s in statements(policy) if s.get("Effect") == "Deny"]
        context = {"aws:PrincipalArn": identity.principal_arn, "aws:PrincipalAccount": identity.account}
        who = {"account": identity.account, "arn": identity.principal_arn}
        return not allows([_ALLOW_ALL, *denying], action=action, resource=arn, context=context, **who)


@dataclass(frozen=True)
class Call:
    """One call: caller, registry and parameters, which have been checked against the model."""

    parts: Parts
    identity: Identity
    registry: EcrRegistry
    parameters: dict[str, Any]

    @property
    def store(self) -> Store:
        """The store of repositories and images."""
        return self.parts.store

    @property
    def settings(self) -> Settings:
        """The registries' settings."""
        return self.parts.settings

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.parts.clock().timestamp()

    @property
    def name(self) -> Repository:
        """The repository that the call names."""
        return Repository(self.registry, self.parameters["repositoryName"])

    def repository(self) -> RepositoryRow:
        """The repository's row. Raises RepositoryNotFoundException."""
        return self.store.get(self.name)

    def image(self) -> tuple[RepositoryRow, ImageRow, Answer]:
        """The repository and the image of the parameter `imageId`, and the `imageId` for the answer. Raises
        EcrError."""
        row, wanted = self.repository(), self.parameters["imageId"]
        image = self.parts.images.find(row, wanted.get("imageDigest"), wanted.get("imageTag"))
        return row, image, {"imageDigest": image.digest, "imageTag": wanted.get("imageTag")}

    def of_repository(self, **more: Any) -> Answer:
        """An answer with registryId, repositoryName and `more`."""
        return {"registryId": self.registry.account, "repositoryName": self.name.name, **more}

    def after(self) -> Any:
        """The key of the last item of the page before (a list as a tuple); None on the first page."""
        if not (token := self.parameters.get("nextToken")):
            return None
        try:
            key = json.loads(base64.urlsafe_b64decode(token.encode()))["after"]
        except (ValueError, KeyError, TypeError) as error:
            raise bad_token() from error
        return tuple(key) if isinstance(key, list) else key

    def page(self, items: Sequence[T], key: Callable[[T], Any], default: int = PAGE) -> tuple[list[T], str | None]:
        """One page of items, which must be sorted by `key`, and the opaque token of the next page."""
        if (after := self.after()) is not None:
            try:
                items = [item for item in items if key(item) > after]
            except TypeError as error:
                raise bad_token() from error
        size = self.parameters.get("maxResults") or default
        if len(items) <= size:
            return list(items), None
        token = json.dumps({"after": key(items[size - 1])}).encode()
        return list(items[:size]), base64.urlsafe_b64encode(token).decode()


def bad_token() -> errors.EcrError:
    """A `nextToken` that the local ECR has not issued."""
    return errors.invalid("nextToken", "must be a token of an earlier answer")


Operation = Callable[[Call], Answer]
OPERATIONS: dict[str, Operation] = {}
RECORDED: set[str] = set()
"""The operations whose calls leave a CloudTrail record, failed ones too."""


def serves(name: str, *, recorded: bool = False) -> Callable[[Operation], Operation]:
    """Register a function as the one that serves an operation of the model. `recorded`: it is in `RECORDED`."""

    def enter(function: Operation) -> Operation:
        OPERATIONS[name] = function
        if recorded:
            RECORDED.add(name)
        return function

    return enter
