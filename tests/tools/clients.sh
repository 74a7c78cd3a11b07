#!/usr/bin/env bash
# Installs registry clients for the tests, from Debian and PyPI: skopeo, buildah, ECR's credential helper, and the `aws`
# command in its own virtual environment, .venv-aws (Debian's version 2.9 ignores AWS_ENDPOINT_URL, and PyPI's pins its
# own botocore). If a client can't be installed, its tests are skipped. Idempotent.
set -uo pipefail
cd "$(dirname "$0")/../.."
missing=()
for pair in skopeo:skopeo buildah:buildah docker-credential-ecr-login:amazon-ecr-credential-helper; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq >/dev/null
    for package in "${missing[@]}"; do
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
        echo "$package cannot be installed: its tests are skipped" >&2
    done
  else
    echo "only root can install ${missing[*]}: their tests are skipped" >&2
  fi
fi
if ! .venv-aws/bin/aws --version >/dev/null 2>&1; then
  python=$(tests/tools/python311.sh) && "$python" -m venv .venv-aws &&
    .venv-aws/bin/python -m pip install -qq --disable-pip-version-check --no-input 'awscli==1.*' ||
    echo "the aws command cannot be installed: its tests are skipped" >&2
fi
exit 0
