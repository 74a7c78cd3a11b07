#!/usr/bin/env bash
# Builds widget-base:local, a base image with a python3, from the Python of this machine: its program, the libraries
# that it is linked with, and the part of the standard library that a small service needs. Needs no registry and no
# network. Idempotent: does nothing if the image exists (FORCE=1 rebuilds it).
set -euo pipefail
image=${IMAGE:-widget-base:local}
if [ "${FORCE:-0}" != 1 ] && docker image inspect "$image" >/dev/null 2>&1; then exit 0; fi
python=$(command -v /usr/bin/python3 || command -v python3)
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
"$python" -I - "$root" <<'PYTHON'
import os, pathlib, shutil, subprocess, sys, sysconfig

root = pathlib.Path(sys.argv[1])

def take(path):
    target = root / str(path).lstrip("/")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(path), target)

def linked(path):
    listed = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]

program = os.path.realpath(sys.executable)
take(program)
library = pathlib.Path(sysconfig.get_path("stdlib"))
left_out = {"test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo", "pydoc_data", "site-packages",
            "dist-packages", "__pycache__"}
for path in sorted(library.rglob("*")):
    parts = path.relative_to(library).parts
    if path.is_file() and not left_out & set(parts) and not parts[0].startswith("config-"):
        take(path)
for path in [program, *map(str, (root / str(library).lstrip("/")).rglob("*.so"))]:
    for each in linked(path):
        take(each)
python = root / "usr/bin/python3"
python.parent.mkdir(parents=True, exist_ok=True)
if not python.exists():
    python.symlink_to(program)
(root / "etc").mkdir(exist_ok=True)
(root / "etc/passwd").write_text("root:x:0:0::/:\nwidget:x:1000:1000::/srv:\n")
(root / "tmp").mkdir(exist_ok=True)
# For the SBOM: the packages of this machine that the files come from, in the format of images without dpkg.
if shutil.which("dpkg-query"):
    files = [str(path)[len(str(root)):] for path in root.rglob("*") if path.is_file()]
    owners = subprocess.run(["dpkg-query", "--search", *files], capture_output=True, text=True).stdout
    status = root / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    for package in sorted({name.strip() for line in owners.splitlines() for name in line.split(": ")[0].split(",")}):
        described = subprocess.run(["dpkg-query", "--status", package], capture_output=True, text=True)
        if described.returncode == 0:
            (status / package.split(":")[0]).write_text(described.stdout)
PYTHON
# Entries are sorted, with a fixed owner and time, so that the same Python gives the same base image.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$root" -c . \
  | docker import --change 'ENV PATH=/usr/bin' - "$image" >/dev/null
echo "$image: $(docker image inspect --format '{{.Size}}' "$image") bytes"
