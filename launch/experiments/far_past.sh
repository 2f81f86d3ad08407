#!/usr/bin/env bash
# Asks trained models for what only the far past tells (docs/books.md): makes the texts of far_past.py from the test split
# of a corpus, reads them with the memory kept and knocked out, and compares the two. Started again it goes on where it was.
#
#   launch/experiments/far_past.sh CORPUS RUN...      RUN is a run directory of launch/experiments/books.sh
#
# Environment: RUNS (runs/books): where books.sh has put its tokenizer, and where the texts go, RANKS (1): how many ranks
# read, PALIMPSEST: a program that is built already.
# shellcheck source=experiment.sh
. "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"

case "${1:-}" in
  "" | -*) show_usage; exit $(($# ? 0 : 2)) ;;
esac
corpus=$1 runs=${RUNS:-runs/books}
shift
far=$runs/far tokenizer=$runs/pieces/pieces.model
[ $# -gt 0 ] || fail "no run directory given"
[ -d "$corpus/test" ] || fail "$corpus: no folder in PG19's layout; expected test/ in it"
[ -e "$tokenizer" ] || fail "$tokenizer is not there; launch/experiments/books.sh makes it"
require_source "$far/corpus" "$corpus" texts

get_ready
if [ ! -e "$far" ]; then
  rm -rf "$far.tmp"
  launch/experiments/far_past.py "$corpus/test" "$far.tmp"
  realpath "$corpus" >"$far.tmp/corpus"
  mv "$far.tmp" "$far"
fi
tasks=()
for records in "$far"/*.jsonl; do
  task=$(basename "$records" .jsonl)
  tasks+=("$task")
  [ -e "$far/$task.h5" ] ||
    "$palimpsest" pack "$records" "$far/$task.h5" --tokenizer "$tokenizer" --turn-template '{content}'
done
for run in "$@"; do
  for task in "${tasks[@]}"; do
    for memory in kept none; do
      measure "$run" "far-$task-memory-$memory" --data "$far/$task.h5" --memory "$memory"
    done
    say "$run: $task, memory kept and knocked out"
    "$palimpsest" compare "$run/evaluation/far-$task-memory-kept.json" "$run/evaluation/far-$task-memory-none.json"
  done
done
