"""The commands with which each tool copies, as an experienced user would write them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TALLYMAN = [str(Path(sys.executable).with_name("tallyman")), "copy"]
EARLIER = os.environ.get("BEFORE", "")
"""The `tallyman` command of an earlier release, which is measured too; empty: none."""
AT_ONCE = "8"
"""Parallel layers, for the peers with an option for it: their defaults (3 or 4) would slow them down."""

UNCHECKED = ("oras",)
"""Peers that do not check the digests of what they copy: a damaged blob reaches the sink, with exit status 0. That is
less work than ours, so they are shown, but not used for the ratio of a row; neither is `before`."""

Commands = dict[str, list[list[str]]]
"""The commands that each tool runs, one after the other."""


def peers() -> list[str]:
    """The peers on the PATH, and our earlier release."""
    here = [tool for tool in ("skopeo", "crane", "regctl", "oras") if shutil.which(tool)]
    return [*here, *(["before"] if EARLIER else [])]


def prepare(hosts: Sequence[str], environment: Mapping[str, str], tls: bool) -> None:
    """Configure regctl, which has no option for plain HTTP: its configuration has a setting for each host."""
    if not shutil.which("regctl"):
        return
    for host in hosts:
        setting = ["regctl", "registry", "set", "--skip-check", "--req-concurrent", AT_ONCE]
        setting += ["--tls", "enabled" if tls else "disabled", host]
        subprocess.run(setting, env=dict(environment), check=True)


def image(source: str, targets: Sequence[str], tls: bool = False) -> Commands:
    """The commands for one image, `HOST/REPOSITORY:TAG`, to each target; only ours takes several targets at once."""
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
    """The commands for a whole repository from host to host, which regctl and oras do not have."""
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
