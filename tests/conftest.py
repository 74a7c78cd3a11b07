"""What holds for all tests."""

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
