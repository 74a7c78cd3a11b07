"""Sessions of botocore that share the models of services, which are the dearest part of a client."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.loaders import Loader, create_loader


def new_session(variables: Mapping[str, Any] | None = None) -> Any:
    """A session with the configuration and credentials of the environment as it is now.

    `variables`: configuration variables that come before the environment's, such as `{"profile": "ops"}`.
    Its data (models, endpoints) are read from their files once a process, not once a session: some 50 ms a service.
    Raises BotoCoreError where the environment names a profile that does not exist.
    """
    session: Any = botocore.session.get_session()
    for name, value in (variables or {}).items():
        session.set_config_variable(name, value)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@cache
def _loader(search_path: str | None) -> Loader:
    loader: Loader = create_loader(search_path)
    return loader
