"""Write a file in one step, so that an interrupted or failed write leaves the old one."""

import os
from pathlib import Path

from tallyman.errors import BadInput


def replace(file: Path, raw: bytes) -> None:
    """Replace the file's content in one step, or make the file. Raises BadInput."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        fresh.write_bytes(raw)
        if file.exists():
            fresh.chmod(file.stat().st_mode)
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise BadInput(f"{file}: can't be written: {error.strerror or error}") from error
