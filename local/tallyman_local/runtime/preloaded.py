"""The process that workers are forked from, after it has imported botocore, Powertools and the layers' own modules.

A worker that starts a new interpreter takes half a second of processor time, mostly for these imports; a fork takes
0.05 s. Run as `python -I preloaded.py FOLDER…`, with the layers' folders and a socket as standard input. Requests
and answers are lines of JSON; with a request for a worker come its standard input, output and error as descriptors.
The process ends when the socket does. It has one thread, so that a fork copies a process at rest.
"""

import contextlib
import gc
import importlib.util
import json
import os
import pkgutil
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

LIBRARIES = ("botocore.session", "aws_lambda_powertools.metrics", "aws_lambda_powertools.logging")
PACKAGE = "tallyman"
"""All its modules are imported. A handler's other imports happen in its worker, as in a cold start on Lambda."""
SERVICES = ("sts", "dynamodb", "s3", "sqs", "sns", "ecr")
"""Services of AWS that most functions call: the package's sessions share botocore's data, which a client reads."""


def main() -> None:
    """Fork workers until the socket ends. In a fork, `serve` never returns."""
    folders = sys.argv[1:]
    sys.path[:0] = folders
    channel = socket.socket(fileno=0)
    serve = _worker().serve
    _preload(folders)
    with contextlib.suppress(Exception):  # a broken layer: each worker reads its own data
        _read_botocore_data()
    sources = _sources(folders)
    gc.collect()
    gc.freeze()  # a collection in a worker would touch, and thereby copy, every page that it shares
    for request, streams in _requests(channel):
        waits, answered = os.pipe()
        if "reap" in request:
            answer = {"status": os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])}
        elif _sources(folders) != sources:
            answer = {"stale": True}
        elif pid := os.fork():
            answer = {"pid": pid}
        else:
            channel.detach()
            os.close(answered)
            if not os.read(waits, 1):  # the parent ended before it answered: another fork gets these streams
                signal.raise_signal(signal.SIGKILL)
            os.close(waits)
            _become(request, streams)
            serve(request["handler"], request["folder"])
        channel.sendall(json.dumps(answer).encode() + b"\n")
        os.write(answered, b"!")
        os.close(waits)
        os.close(answered)


def _requests(channel: socket.socket) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Each request with the descriptors that came with it, which are closed when the next one is asked for."""
    while True:
        raw, descriptors = b"", []
        while not raw.endswith(b"\n"):
            block, passed, _, _ = socket.recv_fds(channel, 1 << 16, 3)
            if not block:
                return
            raw += block
            descriptors += passed
        yield json.loads(raw), descriptors
        for descriptor in descriptors:
            os.close(descriptor)


def _worker() -> ModuleType:
    """worker.py, without its folder on the module path of the handlers."""
    spec = importlib.util.spec_from_file_location("worker", Path(__file__).with_name("worker.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _preload(folders: Sequence[str]) -> None:
    """Import the libraries and the whole package where these folders have it: this machine's own would hide a package
    of that name in a function. A failed import fails again in the handlers that need the module."""
    names = list(LIBRARIES)
    if found := PathFinder.find_spec(PACKAGE, folders):
        inside = pkgutil.walk_packages(found.submodule_search_locations, f"{PACKAGE}.", onerror=lambda _: None)
        names += [PACKAGE, *(module.name for module in inside)]
    for name in names:
        with contextlib.suppress(Exception, SystemExit):
            importlib.import_module(name)


def _read_botocore_data() -> None:
    """Create a client of each service, whose data the package's sessions keep for the forks: 0.15 s for each worker.

    Does nothing where the package was not imported, or is another one.
    """
    sessions = sys.modules.get(f"{PACKAGE}.adapters.aws.sessions")
    if sessions is None:
        return
    session = sessions.new_session()
    for service in SERVICES:
        session.create_client(service, "us-east-1", aws_access_key_id="-", aws_secret_access_key="-")


def _sources(folders: Iterable[str]) -> dict[str, int]:
    """The imported files of these folders, each with its modification time, which shows an edit."""
    times = {}
    for module in list(sys.modules.values()):
        file = vars(module).get("__file__")
        if file and any(file.startswith(folder + os.sep) for folder in folders):
            times[file] = Path(file).stat().st_mtime_ns if Path(file).exists() else 0
    return times


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Take over the worker's streams and `environment`, and work in its `folder`."""
    os.setsid()  # Ctrl-C goes to the cloud alone, which ends its workers
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    if sys.platform == "darwin":
        os.environ["no_proxy"] = "*"  # else urllib asks the system for proxies, which crashes a forked process
    time.tzset()
    if Path(request["folder"]).is_dir():
        os.chdir(request["folder"])


if __name__ == "__main__":
    main()
