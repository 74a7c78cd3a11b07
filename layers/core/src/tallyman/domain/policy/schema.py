"""The keys of a policy, and its JSON Schema for editors; made from the same shapes that read it."""

from collections.abc import Mapping

from tallyman.domain.policy.environments import Environments
from tallyman.domain.policy.gates import KnownGates
from tallyman.domain.policy.notices import NOTICES
from tallyman.domain.policy.people import PEOPLE
from tallyman.domain.policy.repositories import Repositories
from tallyman.domain.policy.shapes import Key, Schema
from tallyman.domain.policy.usage import USAGE


def top_keys(gates: KnownGates) -> Mapping[str, Key]:
    """The keys of a policy that may name these gates."""
    repositories = "What holds for which repositories; the first entry that matches counts."
    return {
        "environments": Key(Environments(), "Named lists of registries that hold the same images."),
        "repositories": Key(Repositories(gates), repositories),
        "people": Key(PEOPLE, "Who may send which command."),
        "notices": Key(NOTICES, "How severe notices are, and which chat channels get them."),
        "usage": Key(USAGE, "What is not read for what it runs."),
    }


def json_schema(gates: KnownGates) -> Schema:
    """Draft 2020-12. Looser than the reader in what a schema can't say (contradictions, unknown environments)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tallyman policy",
        "description": "What tallyman.yaml may say: environments, repositories, people, notices and usage.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            name: {"description": key.description, "anyOf": [key.shape.schema(), {"type": "null"}]}
            for name, key in top_keys(gates).items()
        },
    }
