#!/usr/bin/env bash
# Runs a k6 load test against an environment where the image runs, and posts whether its thresholds hold:
#
#   load-test.sh script.js dev/rocketseat/widget-server:v1.1.0 https://ci.example.com/runs/42
#
# The gate: check: [{name: load, from: [role/ci], max_age: 7d}]
set -euo pipefail
script=${1:?the k6 script} image=${2:?the image, such as dev/NAME:TAG} address=${3:?the address of the run}

status=0
k6 run --quiet "$script" || status=$?
case $status in
  0) result=--passed because="all thresholds hold: $address" ;;
  99) result=--failed because="a threshold is crossed: $address" ;;  # k6's status for a crossed threshold
  *) echo "k6 ended with status $status: nothing is posted" >&2; exit 2 ;;
esac
tallyman check post "$image" load $result --because "$because"
