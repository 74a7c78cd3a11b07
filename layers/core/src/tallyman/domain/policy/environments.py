"""`environments`: named lists of registries that hold the same images."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from tallyman.domain.names import REGION, EcrRegistry, Repository
from tallyman.domain.partitions import nearest, partition_of
from tallyman.domain.policy.reading import Node, Wrong, suggestion
from tallyman.domain.policy.rollout import ROLL_OUT, RollOut
from tallyman.domain.policy.shapes import Choice, Key, ListOf, Record, Schema, String
from tallyman.errors import BadName
from tallyman.values import value

NAME = "{name}"  # the placeholder for the canonical name in an environment's `repository`


class Replicate(StrEnum):
    """Who copies an image to the registries of an environment after the first: promotions, or ECR's replication."""

    COPY = "copy"
    NATIVE = "native"


@value
class Environment:
    """A named list of registries that hold the same images.

    `repository` is the template of the repositories' names here: `{name}` stands for the canonical name, which
    policies, people and promotions use; `prod/{name}` renames a repository on promotion.
    """

    name: str
    registries: tuple[EcrRegistry, ...]
    repository: str = NAME
    rollout: RollOut | None = None
    replicate: Replicate = Replicate.COPY

    @property
    def replicas(self) -> tuple[EcrRegistry, ...]:
        """The registries that ECR's own replication fills from the first one; empty where promotions copy to all."""
        return self.registries[1:] if self.replicate is Replicate.NATIVE else ()

    def repository_name(self, canonical: str) -> str:
        """The name of the repository with this canonical name in this environment's registries."""
        return self.repository.replace(NAME, canonical)

    def canonical_name(self, repository: str) -> str | None:
        """The canonical name of the repository with this name; None: the name does not match the template."""
        before, _, after = self.repository.partition(NAME)
        if not (repository.startswith(before) and repository.endswith(after)):
            return None
        return repository[len(before) : len(repository) - len(after)] or None

    def repositories(self, canonical: str) -> tuple[Repository, ...]:
        """The repository with this canonical name in each registry, in the policy's order."""
        return tuple(Repository(registry, self.repository_name(canonical)) for registry in self.registries)

    @property
    def specificity(self) -> int:
        """The number of fixed characters in `repository`."""
        return len(self.repository) - len(NAME)


_ENVIRONMENT_NAME = r"[A-Za-z][A-Za-z0-9_-]*"


def _registry(text: str) -> EcrRegistry:
    """Parse a registry. Raises BadName where no partition of AWS has the region."""
    registry = EcrRegistry.parse(text)
    if registry.region not in partition_of(registry.region).regions:
        meant = nearest(registry.region)
        hint = f" (did you mean '{meant}'?)" if meant else ""
        raise BadName(f"{text}: AWS has no region {registry.region}{hint}")
    return registry


_REGISTRY = String(
    rf"[0-9]{{12}}/{REGION}",
    "a registry: account/region, such as 111111111111/us-east-2",
    _registry,
)
_ENVIRONMENT = Record(
    {
        "registries": Key(
            ListOf(_REGISTRY, least=1),
            "Registries that hold the same images, as account/region: a promotion reaches all of them or none.",
            required=True,
        ),
        "repository": Key(
            String(r"[a-z0-9._/-]*\{name\}[a-z0-9._/-]*", f'a name that holds {NAME} once, such as "prod/{NAME}"'),
            f'The template of repository names: "{NAME}" (default), or a new name, such as "prod/{NAME}".',
        ),
        "replicate": Key(
            Choice(Replicate),
            "Who copies an image to the registries after the first: promotions (copy, the default), or ECR's own "
            "replication from the first registry (native).",
        ),
        "rollout": Key(ROLL_OUT, "The services that a release updates by digest (default: none)."),
    },
    lambda **values: values,
    expected="an environment, as in {registries: [111111111111/us-east-2]}",
)


class Environments:
    """Environments by name, in the file's order."""

    def read(self, node: Node) -> Mapping[str, Environment]:
        if not isinstance(node.value, Mapping):
            raise node.expected("environments by name, as in {dev: {registries: [111111111111/us-east-2]}}")
        found: dict[str, Environment] = {}
        name_shape = String(_ENVIRONMENT_NAME, "the name of an environment: a letter, then letters, digits, _ or -")
        for name, each in node.value.items():
            child = node.child(str(name), each)
            try:
                name_shape.read(Node(name, child.path, node.document))
                found[name] = Environment(name, **_ENVIRONMENT.read(child))
            except Wrong:
                continue  # noted; the other environments are still read, and checked
        return MappingProxyType(found)

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_ENVIRONMENT_NAME}$"},
            "additionalProperties": _ENVIRONMENT.schema(),
        }


class EnvironmentName:
    """The name of an environment of this policy."""

    def read(self, node: Node) -> str:
        known = node.document.environments
        if not isinstance(node.value, str):
            raise node.expected("the name of an environment")
        if node.value not in known:
            hint = suggestion(node.value, known)
            raise node.expected(f"an environment of this policy ({', '.join(known) or 'there is none'})" + hint)
        return node.value

    def schema(self) -> Schema:
        return {"type": "string"}
