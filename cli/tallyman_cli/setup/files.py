"""The files of a checkout that `make deploy` reads: the policy, and samconfig.toml with the parameters of the stack."""

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tallyman.errors import BadInput

POLICY = Path("layers/policy/tallyman.yaml")
SAMCONFIG = Path("samconfig.toml")
_KEY = "parameter_overrides"


def overrides(part: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of the stack in an environment's part, where they are one text or a list. Raises BadInput."""
    given = part.get("deploy", {}).get("parameters", {}).get(_KEY, "")
    try:
        words = shlex.split(given) if isinstance(given, str) else [str(each) for each in given]
    except ValueError as error:
        raise BadInput(f"{_KEY} of {SAMCONFIG}: {error}") from error
    return dict(word.split("=", 1) for word in words if "=" in word)


def with_overrides(text: str, environment: str, wanted: Mapping[str, str], force: bool = False) -> str:
    """The text of a samconfig.toml with these parameters of an environment; comments and everything else stay.

    Raises BadInput if a parameter has another value and `force` is not given, or if the file has no line
    `parameter_overrides = "…"` in `[ENVIRONMENT.deploy.parameters]`.
    """
    try:
        given = overrides(tomllib.loads(text).get(environment, {}))
    except ValueError as error:
        raise BadInput(f"{SAMCONFIG}: {error}") from error
    other = {name: given[name] for name, value in wanted.items() if given.get(name, value) != value}
    if other and not force:
        found = ", ".join(f"{name}={value}" for name, value in other.items())
        raise BadInput(f"{SAMCONFIG} has {found} for {environment} (--force overwrites)")
    if all(given.get(name) == value for name, value in wanted.items()):
        return text
    both = given | dict(wanted)
    line = " ".join(f"{name}={shlex.quote(value) if value else value}" for name, value in both.items())
    head = re.escape(f"[{environment}.deploy.parameters]")
    before = rf"^{head}[^\n]*\n(?:(?!\[)[^\n]*\n)*?{_KEY}[ \t]*=[ \t]*"
    changed, count = re.subn(
        rf'({before})"(?:[^"\\\n]|\\.)*"', lambda m: m[1] + json.dumps(line, ensure_ascii=False), text, flags=re.M
    )
    if count != 1 or overrides(tomllib.loads(changed)[environment]) != both:
        added = " ".join(f"{name}={value}" for name, value in wanted.items())
        raise BadInput(f'{SAMCONFIG}: no line `{_KEY} = "…"` of {environment} to add {added} to; add it yourself')
    return changed
