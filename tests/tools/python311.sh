#!/usr/bin/env bash
# Prints the name of a Python of version 3.11 or later that runs and has venv: $PYTHON if set, else python3, else a
# numbered one.
set -euo pipefail
for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
  if "$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    echo "$name"
    exit 0
  fi
done
echo "no Python 3.11 or later with venv was found (looked for ${PYTHON:-python3, python3.11 to 3.14})" >&2
exit 1
