"""The choices for all commands: options before the command, environment variables, configuration files.

Options win over the environment, the environment over `.tallyman.toml` (in the working directory or the nearest folder
above it), that over `~/.config/tallyman/config.toml`. Inside a local cloud its variables are the environment.
"""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tallyman.errors import BadInput

DEFAULT_STACK = "tallyman"

KEYS = ("stack", "region", "profile", "policy")
"""Keys of a configuration file; all are strings. `policy` is a path, relative to the folder of the file."""

_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
_CREDENTIALS = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID")


@dataclass
class Chosen:
    """The options before the command; a command's own options win over them. `utc`: times are shown in UTC; `quiet`: no
    notes and no progress; `paged`: long tables are shown in a pager."""

    stack: str | None = None
    policy: Path | None = None
    utc: bool = False
    quiet: bool = False
    paged: bool = True

    @contextmanager
    def for_command(self, stack: str | None, policy: Path | None) -> Iterator[None]:
        """While the block runs, a command's own --stack and --policy win."""
        before = self.stack, self.policy
        self.stack, self.policy = stack or self.stack, policy or self.policy
        try:
            yield
        finally:
            self.stack, self.policy = before

    def stack_name(self, option: str | None = None) -> str:
        """The stack's name; `option`: the command's own --stack."""
        return option or self.stack or os.environ.get("TALLYMAN_STACK") or _files.get("stack") or DEFAULT_STACK

    def policy_file(self, option: Path | None = None) -> Path | None:
        """The policy file to judge by; None: the policy in force. `option`: the command's own --policy."""
        found = option or self.policy or os.environ.get("TALLYMAN_POLICY") or _files.get("policy")
        return Path(found) if found else None


chosen = Chosen()
_files: dict[str, str] = {}


def read_files(environ: MutableMapping[str, str] = os.environ) -> None:
    """Read the configuration files. Set region and profile in the environment, for every client of AWS, if it has
    none. Raises BadInput, with the file, for an unknown key or a value that is not a string."""
    _files.clear()
    for file in _existing(environ):
        for key, text in _read(file).items():
            _files.setdefault(key, text)
    if (region := _files.get("region")) and not any(environ.get(name) for name in _REGION):
        environ.update(dict.fromkeys(_REGION, region))
    if (profile := _files.get("profile")) and not any(environ.get(name) for name in _CREDENTIALS):
        environ["AWS_PROFILE"] = profile


def choose_region(option: str | None = None, environ: MutableMapping[str, str] = os.environ) -> None:
    """Set the region of every client: that of `option`, else of AWS_REGION. botocore reads only AWS_DEFAULT_REGION and
    the profile; AWS's own command line takes AWS_REGION first, and so does this one."""
    if region := option or environ.get("AWS_REGION"):
        environ.update(dict.fromkeys(_REGION, region))


def _existing(environ: Mapping[str, str]) -> Iterator[Path]:
    """The configuration files that exist; the first wins."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the working directory was removed
        here = Path("/")
    if near := next((file for folder in (here, *here.parents) if (file := folder / ".tallyman.toml").is_file()), None):
        yield near
    base = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    if base and (own := Path(base) / "tallyman/config.toml").is_file():
        yield own


def _read(file: Path) -> dict[str, str]:
    import tomllib

    from tallyman.adapters.files.reading import text

    try:
        found = tomllib.loads(text(file))
    except OSError as error:
        raise BadInput(f"{file} can't be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{file} is not TOML: {error}") from None
    for key, value in found.items():
        if key not in KEYS:
            raise BadInput(f"{file}: unknown key '{key}'; expected {', '.join(KEYS)}")
        if not isinstance(value, str) or not value:
            raise BadInput(f"{file}: {key}: expected a string, found {value!r}")
    if "policy" in found:
        found["policy"] = str(file.parent / Path(found["policy"]).expanduser())
    return found
