"""How each tool copies: its commands, as somebody who knows it would write them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TALLYMAN = [str(Path(sys.executable).with_name("tallyman")), "copy"]
EARLIER = os.environ.get("BEFORE", "")
"""The `tallyman` command of an earlier release, as one more tool of each round; empty: none."""
AT_ONCE = "8"
"""Layers at once, for the peers that have an option for it, so that none waits for its default (3 or 4)."""

UNCHECKED = ("oras",)
"""Peers that hash nothing of what they copy: a damaged blob goes to the sink as it is, with exit status 0. That is less
work than ours: they are shown, but the ratio of a row is not to them, nor to `before`."""

Commands = dict[str, list[list[str]]]
"""By tool, what it runs, one after the other."""


def peers() -> list[str]:
    """Those on the PATH, and our earlier release."""
    here = [tool for tool in ("skopeo", "crane", "regctl", "oras") if shutil.which(tool)]
    return [*here, *(["before"] if EARLIER else [])]


def prepare(hosts: Sequence[str], environment: Mapping[str, str], tls: bool) -> None:
    """regctl has no option for plain HTTP beside `copy`: its configuration says it for each host."""
    if not shutil.which("regctl"):
        return
    for host in hosts:
        setting = ["regctl", "registry", "set", "--skip-check", "--req-concurrent", AT_ONCE]
        setting += ["--tls", "enabled" if tls else "disabled", host]
        subprocess.run(setting, env=dict(environment), check=True)


def image(source: str, targets: Sequence[str], tls: bool = False) -> Commands:
    """One image, `HOST/REPOSITORY:TAG`, to each of the targets; only we take several at once."""
    skopeo = ["skopeo", "copy", "--quiet", "--all", *_unless(tls, "--src-tls-verify=false", "--dest-tls-verify=false")]
    crane = ["crane", "copy", *_unless(tls, "--insecure"), "-j", AT_ONCE]
    oras = ["oras", "cp", "--no-tty", "--concurrency", AT_ONCE, *_unless(tls, "--from-plain-http", "--to-plain-http")]
    return _of_those_here(
        {
            "tallyman": [[*TALLYMAN, source, *targets]],
            "before": [[EARLIER, "copy", source, *targets]],
            "skopeo": [[*skopeo, f"docker://{source}", f"docker://{each}"] for each in targets],
            "crane": [[*crane, source, each] for each in targets],
            "regctl": [["regctl", "image", "copy", source, each] for each in targets],
            "oras": [[*oras, source, each] for each in targets],
        }
    )


def repository(name: str, source: str, target: str, tls: bool = False) -> Commands:
    """A whole repository from host to host. regctl and oras have no command for that."""
    sync = ["skopeo", "sync", "--src", "docker", "--dest", "docker"]
    sync += _unless(tls, "--src-tls-verify=false", "--dest-tls-verify=false")
    crane = ["crane", "copy", *_unless(tls, "--insecure"), "-j", AT_ONCE, "--all-tags"]
    return _of_those_here(
        {
            "tallyman": [[*TALLYMAN, "--all-tags", f"{source}/{name}", f"{target}/{name}"]],
            "before": [[EARLIER, "copy", "--all-tags", f"{source}/{name}", f"{target}/{name}"]],
            "skopeo": [[*sync, f"{source}/{name}", target]],
            "crane": [[*crane, f"{source}/{name}", f"{target}/{name}"]],
        }
    )


def _unless(tls: bool, *options: str) -> list[str]:
    return [] if tls else list(options)


def _of_those_here(made: Commands) -> Commands:
    return {tool: made[tool] for tool in ("tallyman", *peers()) if tool in made}
