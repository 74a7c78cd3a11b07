"""The folders in which this user's caches are kept."""

import os
from pathlib import Path


def cache(name: str) -> Path:
    """`$XDG_CACHE_HOME/tallyman/NAME`, else `~/.cache/tallyman/NAME`. A user without a home gets a path that can't be
    created, so that nothing is kept."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tallyman" / name
    except RuntimeError:
        return Path(os.devnull) / name
