#!/usr/bin/env bash
# Prints the path of a python3.13, which `sam build` needs for the runtime python3.13: from the PATH, else
# from pyenv. A pyenv shim may be on the PATH and still not run, so each candidate is run.
set -euo pipefail
shopt -s nullglob
candidates=(python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python3.13)
for name in "${candidates[@]}"; do
  if path=$("$name" -c 'import sys, pip; print(sys.executable)' 2>/dev/null) && [ -x "$path" ]; then
    # The executable may be called python3; callers add the folder of python3.13 to the PATH.
    folder=$(dirname "$path")
    [ -x "$folder/python3.13" ] && { echo "$folder/python3.13"; exit 0; }
  fi
done
echo "no python3.13 (with pip) on the PATH or in pyenv: \`sam build\` needs one for the runtime python3.13" >&2
exit 1
