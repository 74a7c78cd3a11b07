#!/usr/bin/env bash
# python-base-image.sh IMAGE - builds a base image for the command's container image (Dockerfile) without Docker Hub:
# Debian with Python 3.13, its venv, and the locked packages as wheels, so that the build needs no package index.
#
# Needs: root, debootstrap, docker (engine running), a python3 with pip, a Debian mirror, and PyPI or a mirror of it.
# Takes about a minute. For tests; never push it anywhere.
set -euo pipefail
image=${1:?the name of the image}
: "${HOST_PYTHON:=python3}"
: "${DEBIAN_MIRROR:=$(sed -nE 's/^URIs: *([^ ]+\/debian\/?) *$/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)}"
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie "$root" "$DEBIAN_MIRROR" \
  >"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/man/*
machine=$(uname -m)
"$HOST_PYTHON" -m pip download -qq --disable-pip-version-check --require-hashes -r "$here/requirements/cli.txt" \
  --dest "$root/wheels" --only-binary=:all: --python-version 3.13 --implementation cp \
  --platform "manylinux_2_28_$machine" --platform "manylinux2014_$machine" --platform "manylinux_2_17_$machine"
printf '[global]\nno-index = true\nfind-links = /wheels\n' >"$root/etc/pip.conf"
tar -C "$root" -c . | docker import - "$image" >/dev/null
echo "$image is ready"
