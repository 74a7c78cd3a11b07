"""How many examples the property tests try: `EXAMPLES` times the usual number.

`make test` tries fewer, so that it stays short; `.ci/run` tries three times the usual number.
"""

import os

FACTOR = float(os.environ.get("EXAMPLES", "0.4"))


def examples(usual: int) -> int:
    """The number of examples for a test that usually tries this many."""
    return max(5, round(usual * FACTOR))
