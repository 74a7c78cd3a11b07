"""The JSON Schema of a policy, for editors; made from the same shapes that read it."""

from tallyman.domain.policy.keys import TOP
from tallyman.domain.policy.shapes import Schema


def json_schema() -> Schema:
    """Draft 2020-12. Looser than the reader in what a schema can't say (contradictions, unknown environments)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tallyman policy",
        "description": "What tallyman.yaml may say: environments, repositories and people.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            name: {"description": key.description, "anyOf": [key.shape.schema(), {"type": "null"}]}
            for name, key in TOP.items()
        },
    }
