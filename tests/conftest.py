"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# No test fails for being slow: machines differ, and tests share them.
settings.register_profile("tallyman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tallyman")
