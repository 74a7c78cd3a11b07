#!/usr/bin/env bash
# Posts whether the rollout of an image to a cluster of the environment dev succeeded:
#
#   kubernetes-rollout.sh deployment/widget-server dev/rocketseat/widget-server@sha256:…
#
# The workload must run exactly this digest. The gate: check: [{name: rollout, from: [role/ci]}]
set -euo pipefail
workload=${1:?the workload, such as deployment/widget-server} image=${2:?the image, such as dev/NAME@sha256:…}
digest=${image##*@}

runs=$(kubectl get "$workload" -o jsonpath='{.spec.template.spec.containers[*].image}')
case "$runs" in
  *"@$digest"*) ;;
  *) echo "$workload runs $runs, not $digest: nothing is posted" >&2; exit 2 ;;
esac
if kubectl rollout status "$workload" --timeout="${TIMEOUT:-10m}"; then result=--passed; else result=--failed; fi
tallyman check post "$image" rollout $result --because "the rollout of $workload in $(kubectl config current-context)"
