"""The users' own Lambda functions that check images."""

from collections.abc import Mapping
from typing import Any, Protocol


class CheckFunctions(Protocol):
    """Invokes the Lambda functions that the policy's checks name."""

    def ask(self, function: str, question: Mapping[str, Any]) -> Any:
        """Invoke the function with this ARN; return its answer as JSON data. Raises TallymanError where it does not
        answer, fails, or may not be invoked."""
