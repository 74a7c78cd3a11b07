#!/usr/bin/env bash
# What a pull request changes for Tallyman, as Markdown on stdout: the difference that it makes to `tallyman policy check`,
# and `tallyman why` of an image. Exit status: 0; 1 the new policy is not valid, or the image does not get in; 2 bad input.
#
#   POLICY  the policy's file in the repository (none: no difference)
#   BASE    the commit that it is compared with, such as origin/main
#   IMAGE   an image as `tallyman why` names it (none: no answer), TO the environment that it is to get into
set -euo pipefail

failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fenced() { # FILE [LANGUAGE]: as a block whose fence is longer than any within it
  local fence='```'
  while grep -qF "$fence" "$1"; do fence+='`'; done
  printf '%s%s\n' "$fence" "${2:-}"
  cat "$1"
  printf '%s\n\n' "$fence"
}

printf '<!-- tallyman -->\n'
if [ -n "${POLICY:-}" ]; then
  : "${BASE:?with POLICY say what it is compared with}"
  printf '### Policy `%s`\n\n' "${POLICY//\`/}"
  if git cat-file -e "$BASE:$POLICY" 2>/dev/null; then
    mkdir -p "$work/old/$(dirname "$POLICY")"
    git show "$BASE:$POLICY" >"$work/old/$POLICY"
    (cd "$work/old" && tallyman policy check "$POLICY") >"$work/before" 2>&1 || true
  else
    : >"$work/before"
  fi
  if tallyman policy check "$POLICY" >"$work/after" 2>&1; then
    if diff -U 3 --label before --label after "$work/before" "$work/after" >"$work/difference"; then
      printf 'It means the same as before.\n\n'
    else
      fenced "$work/difference" diff
    fi
  else
    failed=1
    printf '**It is not valid.**\n\n'
    fenced "$work/after"
  fi
fi
if [ -n "${IMAGE:-}" ]; then
  : "${TO:?with IMAGE say the environment}"
  printf '### Why `%s` → `%s`\n\n' "${IMAGE//\`/}" "${TO//\`/}"
  status=0
  tallyman why "$IMAGE" --to "$TO" >"$work/why" 2>&1 || status=$?
  [ "$status" = 0 ] || failed=1
  [ "$status" != 2 ] || failed=2
  fenced "$work/why"
fi
exit "$failed"
