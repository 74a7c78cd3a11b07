"""Asking functions of others whether an image is good."""

from collections.abc import Mapping
from typing import Any, Protocol


class CheckFunctions(Protocol):
    """Lambda functions of the owner's."""

    def ask(self, function: str, question: Mapping[str, Any]) -> Any:
        """What the function of this ARN answers, as JSON has it. Raises TallymanError: it did not answer, failed, or
        may not be asked."""
