"""A repository that is deleted between two calls of one reaction."""

from typing import Any

import pytest

from support.fakes.ports import FakeRegistries
from support.fakes.retention import FakeRemover
from tallyman.domain.names import Repository


def dropped_before(
    monkeypatch: pytest.MonkeyPatch, port: FakeRegistries | FakeRemover, method: str, repository: Repository
) -> None:
    """Delete the repository right before the next call of this method of the registries, or of their remover."""
    call = getattr(port, method)
    registries = port.registries if isinstance(port, FakeRemover) else port

    def drop_first(*args: Any, **named: Any) -> Any:
        monkeypatch.setattr(port, method, call)
        registries.drop(repository)
        return call(*args, **named)

    monkeypatch.setattr(port, method, drop_first)
