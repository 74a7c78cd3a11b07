"""A `docker` that builds nothing: it records its calls, and answers as a test says.

In its folder: `says.json` {buildx: drivers by builder's name, "" the one in use, null: does not start; mtime: of files
that a build writes; metadata: buildx's metadata of a build; fail: words with which a build with these options fails;
note: a build's output}; `calls.jsonl`.
"""

import io
import json
import sys
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

PLATFORMS = "Platforms: linux/amd64*, linux/386"


def script(folder: Path) -> str:
    """The script's text, for a file `docker` on the PATH."""
    return f'#!/bin/sh\nexec {sys.executable} -I {Path(__file__)} {folder} "$@"\n'


def calls(folder: Path) -> list[list[str]]:
    """The arguments of every call, in order."""
    file = folder / "calls.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def tar(files: dict[str, bytes], mtime: int) -> bytes:
    """A tar of files, all with one modification time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, raw in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(raw), mtime
            archive.addfile(entry, io.BytesIO(raw))
    return buffer.getvalue()


def _digest(raw: bytes) -> str:
    return "sha256:" + sha256(raw).hexdigest()


BASE = tar({"var/lib/dpkg/status": b"Package: libc6\nVersion: 2.41\n"}, 4_000_000_000)  # newer than any commit


class Docker:
    """One call."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self.folder, self.arguments = folder, arguments
        self.says: dict[str, Any] = json.loads((folder / "says.json").read_text())
        with (folder / "calls.jsonl").open("a") as file:
            file.write(json.dumps(arguments) + "\n")

    def run(self) -> int:
        """Run the call; return its exit status."""
        match self.arguments:
            case ["buildx", "version"]:
                return 0 if self.says.get("buildx") else 1
            case ["buildx", "inspect", "--bootstrap", *name]:
                driver = self.says["buildx"].get(name[0] if name else "")
                if driver is None:
                    return 1
                print(f"Name:   {name[0] if name else 'mine'}\nDriver: {driver}\n\nNodes:\nName: n0\n{PLATFORMS}")
                return 0
            case ["buildx", "build", *_] | ["build", *_]:
                return self.build()
            case ["save", "--output", file, image]:
                self.save(Path(file), image)
                return 0
            case ["image", "inspect", "--format", "{{json .RootFS.Layers}}", image]:
                print(json.dumps([_digest(layer) for layer in self.layers(image)]))
                return 0
        print(f"no such command: {self.arguments}", file=sys.stderr)
        return 1

    def option(self, name: str) -> str | None:
        """The value of an option."""
        return self.arguments[self.arguments.index(name) + 1] if name in self.arguments else None

    def build(self) -> int:
        context = sys.stdin.buffer.read()
        fail = self.says.get("fail")
        if fail and all(option in self.arguments for option in fail["options"]):
            print(fail["words"], file=sys.stderr)
            return 1
        if note := self.says.get("note"):
            print(note, file=sys.stderr)
        if (metadata := self.option("--metadata-file")) and "metadata" in self.says:
            Path(metadata).write_text(json.dumps(self.says["metadata"]))
        kind = "alone" if b"\0" not in context else "scratch" if b"FROM scratch" in context else "app"
        image = f"{kind}-{(self.option('--platform') or 'linux/amd64').split('/')[1]}"
        if file := self.option("--iidfile"):
            Path(file).write_text(image)
        elif output := self.option("--output"):
            self.layout(Path(dict(word.split("=") for word in output.split(","))["dest"]), image)
        return 0

    def layers(self, image: str) -> list[bytes]:
        own = tar({"srv/app.py": b"print(1)\n"}, self.says["mtime"])
        return {"alone": [BASE], "scratch": [own], "app": [BASE, own]}[image.partition("-")[0]]

    def config(self, image: str) -> bytes:
        stamp = f"2026-11-16T00:00:{self.says['mtime'] % 60:02}Z"
        document = {
            "architecture": image.partition("-")[2], "os": "linux", "created": stamp, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in self.layers(image)]},
            "history": [{"created": stamp}], "moby.buildkit.cache.v0": str(self.says["mtime"]),
        }  # fmt: skip
        return json.dumps(document).encode()

    def save(self, file: Path, image: str) -> None:
        layers = self.layers(image)
        listed = [{"Config": "config.json", "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}]
        files = {"manifest.json": json.dumps(listed).encode(), "config.json": self.config(image)}
        file.write_bytes(tar(files | {f"{n}/layer.tar": raw for n, raw in enumerate(layers)}, 0))

    def layout(self, file: Path, image: str) -> None:
        config, layers = self.config(image), self.layers(image)
        plain = "application/vnd.oci.image.layer.v1.tar"
        manifest = json.dumps(
            {
                "config": {"digest": _digest(config)},
                "layers": [{"mediaType": plain, "digest": _digest(raw), "size": len(raw)} for raw in layers],
            }
        ).encode()
        blobs = {f"blobs/sha256/{sha256(raw).hexdigest()}": raw for raw in (config, manifest, *layers)}
        index = json.dumps({"manifests": [{"digest": _digest(manifest)}] * self.says.get("images", 1)}).encode()
        file.write_bytes(tar({"index.json": index, **blobs}, 0))


if __name__ == "__main__":
    sys.exit(Docker(Path(sys.argv[1]), sys.argv[2:]).run())
