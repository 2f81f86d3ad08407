#!/usr/bin/env bash
# What CONTRIBUTING asks of how sources look: clang-format has nothing to change anywhere, clang-tidy nothing to say
# about the sources that differ from BASE.
#
#   launch/scripts/lint.sh           BASE is where this branch has left main; on main itself, the commit before
#   launch/scripts/lint.sh BASE      any other commit
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# changed_sources [BASE]: the *.cpp that exist and differ from BASE, those not yet committed included.
changed_sources() {
  local base=${1:-}
  if [ -z "$base" ]; then
    base=$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || git rev-parse HEAD)
    [ "$base" != "$(git rev-parse HEAD)" ] || base=$(git rev-parse --verify --quiet HEAD~1 || git rev-parse HEAD)
  fi
  git diff --name-only --diff-filter=d "$base" -- '*.cpp'
}

say "clang-format"
find core autograd layers optim data configs launch tests \( -name '*.h' -o -name '*.cpp' \) -print0 |
  xargs -0 -P "$cores" -n 32 clang-format --dry-run --Werror

if ! git rev-parse --git-dir >/dev/null 2>&1; then
  say "clang-tidy: no repository to compare with"
  exit
fi
mapfile -t changed < <(changed_sources "$@" | grep -v '^tests/fuzz/')
say "clang-tidy: ${#changed[@]} changed sources"
[ ${#changed[@]} -gt 0 ] || exit 0
mkdir -p build/lint
cmake --preset debug -B build/lint >build/lint/configure.log 2>&1 || { cat build/lint/configure.log; fail "cmake failed"; }
printf '%s\0' "${changed[@]}" |
  xargs -0 -P "$cores" -n 1 clang-tidy -p build/lint --quiet --warnings-as-errors='*' 2>&1 |
  { grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter' || true; }
