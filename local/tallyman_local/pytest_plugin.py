"""A fixture for tests of other projects: `local_ecr`, a local Amazon ECR without account, Docker or network.

Enable it in `conftest.py`: `pytest_plugins = ["tallyman_local.pytest_plugin"]`. It sets `AWS_ENDPOINT_URL_ECR` and
credentials for the test, so that code which makes its own boto3 client uses it unchanged.
"""

from collections.abc import Iterator

import pytest

try:
    from tallyman_local.ecr.registries import Registries
except ModuleNotFoundError as error:
    raise pytest.UsageError(f"{error.name} is missing: pip install 'tallyman-ecr[local]'") from error


@pytest.fixture
def local_ecr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registries]:
    """An empty ECR for one test; see `tallyman_local.ecr.registries.Registries`."""
    with Registries() as ecr:
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in ecr.environment().items():
            monkeypatch.setenv(name, value)
        yield ecr
