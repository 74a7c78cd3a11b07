"""Sessions of botocore that share the models of services, which are the dearest part of a client."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader, create_loader

from tallyman.adapters.aws.parsing import ParserFactory


def new_session(variables: Mapping[str, Any] | None = None) -> Any:
    """A session with the configuration and credentials of the environment as it is now.

    `variables`: configuration variables that come before the environment's, such as `{"profile": "ops"}`.
    Its data (models, endpoints) are read from their files once a process, not once a session: some 50 ms a service.
    Its User-Agent is made once, not twice for each request, and DynamoDB's answers are parsed in less time (see
    `parsing`): together, a query that returns a few facts takes half the processor time.
    Raises BotoCoreError where the environment names a profile that does not exist.
    """
    session: Any = botocore.session.get_session()
    for name, value in (variables or {}).items():
        session.set_config_variable(name, value)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    session.register_component("response_parser_factory", ParserFactory())
    session.set_default_client_config(Config(user_agent=session.user_agent()))
    return session


@cache
def _loader(search_path: str | None) -> Loader:
    loader: Loader = create_loader(search_path)
    return loader
