#!/usr/bin/env bash
# Prints what a pull request changes for Tallyman, as Markdown: the difference in the output of `tallyman policy check`, and
# `tallyman why` of an image. Exit status: 0; 1 the new policy is not valid, or the image is not promoted; 2 bad input.
#
#   POLICY  the policy's file in the repository (empty: no difference is shown)
#   BASE    the commit to compare with: its SHA, which a shallow clone fetches, or a name it has, such as origin/main
#   IMAGE   an image as in `tallyman why` (empty: no `why`)
#   TO      the environment to promote that image to
set -euo pipefail

failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fenced() { # FILE [LANGUAGE]: prints it as a code block whose fence is longer than any in the file
  local fence='```'
  while grep -qF "$fence" "$1"; do fence+='`'; done
  printf '%s%s\n' "$fence" "${2:-}"
  cat "$1"
  printf '%s\n\n' "$fence"
}

needs() { # VALUE NAME WHY: ends with bad input where the value is empty
  [ -n "$1" ] || { printf '%s is empty: %s\n' "$2" "$3" >&2; exit 2; }
}

printf '<!-- tallyman -->\n'
if [ -n "${POLICY:-}" ]; then
  needs "${BASE:-}" BASE "POLICY needs the commit to compare with"
  printf '### Policy `%s`\n\n' "${POLICY//\`/}"
  if ! git cat-file -e "$BASE^{commit}" 2>/dev/null && ! git fetch --quiet --depth 1 origin "$BASE" >&2; then
    printf '**Not compared: the commit `%s` is neither in this clone nor at origin.**\n' "${BASE//\`/}"
    exit 2
  fi
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
  needs "${TO:-}" TO "IMAGE needs the environment to promote it to"
  printf '### Why `%s` → `%s`\n\n' "${IMAGE//\`/}" "${TO//\`/}"
  status=0
  tallyman why "$IMAGE" --to "$TO" >"$work/why" 2>&1 || status=$?
  [ "$status" = 0 ] || failed=1
  [ "$status" != 2 ] || failed=2
  fenced "$work/why"
fi
exit "$failed"
