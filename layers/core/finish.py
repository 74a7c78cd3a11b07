"""Makes a built layer ready for cold starts: byte code that is used, and AWS models of the services in use alone.

    python3.13 layers/core/finish.py .aws-sam/build/CoreLayer/python .aws-sam/build/OriginLayer/python

Run by `make build` with the interpreter of the runtime; the first folder is the core's, of the others only byte code is
made. /opt can't be written in Lambda: without byte code every cold start compiles all modules, and byte code that is
checked against the time of its source is stale once the layer has been through a zip file. So it is compiled as
unchecked. Doing it twice is doing it once.
"""

import compileall
import py_compile
import shutil
import sys
from pathlib import Path

SERVICES = (
    "batch",
    "cloudtrail",
    "dynamodb",
    "ecr",
    "ecs",
    "eks",
    "events",
    "iam",
    "inspector2",
    "kms",
    "lambda",
    "s3",
    "signer",
    "sns",
    "sqs",
    "sts",
)
"""What the adapters make clients of (a test compares). Making any other fails as `Unknown service`."""


def finish(layer: Path) -> None:
    """Strip and compile the folder that becomes /opt/python. Raises if a service has no model, or code no syntax."""
    data = layer / "botocore" / "data"
    missing = [name for name in SERVICES if not (data / name).is_dir()]
    if missing:
        raise SystemExit(f"{data}: no models of {', '.join(missing)}")
    for folder in (data, layer / "boto3" / "data"):
        for path in folder.iterdir():
            if path.is_dir() and path.name not in SERVICES:
                shutil.rmtree(path)
    compiled(layer)


def compiled(layer: Path) -> None:
    """Byte code for every module of the folder that becomes /opt/python. Raises if code has no syntax."""
    for path in layer.rglob("__pycache__"):
        shutil.rmtree(path)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(
        layer, quiet=1, invalidation_mode=unchecked, stripdir=str(layer), prependdir="/opt/python"
    ):
        raise SystemExit(f"{layer}: some modules do not compile")


if __name__ == "__main__":
    finish(Path(sys.argv[1]))
    for other in sys.argv[2:]:
        compiled(Path(other))
