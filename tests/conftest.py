"""Settings for all tests."""

import gc
import os
import sys

from hypothesis import HealthCheck, settings

from support.examples import examples

# No test uses an account of the person who runs it, or depends on their shell's settings.
for _name in [n for n in os.environ if n.startswith(("AWS_", "TALLYMAN_")) and n != "AWS_CA_BUNDLE"]:
    del os.environ[_name]
os.environ |= {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}

# Tests start hundreds of commands, each of which would compile its modules anew where a machine keeps no byte code.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No test fails for being slow: machines differ, and tests run beside each other.
settings.register_profile(
    "tallyman", deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tallyman")


def pytest_collection_finish() -> None:
    """Freeze the collected tests and modules, and collect garbage less often.

    moto's clouds and botocore's models are hundreds of thousands of objects, many of which live for one test: with
    the usual thresholds the garbage collector took a third of the tests' processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 5)
