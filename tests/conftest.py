"""What holds for all tests."""

import gc
import os

from hypothesis import HealthCheck, settings

# No test speaks to an account of whoever runs it, or depends on how their shell is set up.
for _name in [n for n in os.environ if n.startswith(("AWS_", "TALLYMAN_")) and n != "AWS_CA_BUNDLE"]:
    del os.environ[_name]
os.environ |= {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}

# No test fails for being slow: machines differ, and tests share them.
settings.register_profile("tallyman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tallyman")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through thousands of collected tests, and their modules, all the time.

    moto's clouds and botocore's models are hundreds of thousands of objects, many of which live for one test: with the
    collector's usual thresholds a third of the tests' processor time was its own.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 5)
