#!/usr/bin/env bash
# The experiment of docs/results.md on search: a small model that learns from a collection's documents alone to find them,
# measured on the collection's judged queries beside BM25 and together with it. Prepares the data, trains the rows one after
# another, indexes and searches with each, and compares. Started again it goes on where it was: what is trained, indexed and
# searched stays, an interrupted training or index resumes.
#
#   launch/experiments/search.sh COLLECTION                 every row; COLLECTION is a folder in BEIR's layout:
#                                                           corpus.jsonl, queries.jsonl, qrels/test.tsv
#   launch/experiments/search.sh COLLECTION generative      these rows
#   launch/experiments/search.sh --list                     what rows there are, and what each changes in configs/search.yaml
#
# Environment: SEED (1), PRECISION (float32), RUNS (runs/search), RANKS (1): how many ranks train and index, FIRST (100): how
# many documents BM25 hands to the model, SETS: further keys for every row, PALIMPSEST: a program that is built already.
# shellcheck source=../scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

config=configs/search.yaml
seed=${SEED:-1} precision=${PRECISION:-float32} runs=${RUNS:-runs/search} ranks=${RANKS:-1} first=${FIRST:-100}
palimpsest=${PALIMPSEST:-build/release/palimpsest}

declare -A row=(
  [generative]=""
  # Four documents are asked each other's queries: ten segments a document.
  [contrast]="data.contrast=0.1 data.contrast_documents=4 train.sequence_length=2560 train.batch_size=2"
)
order=(generative contrast)

run_of() { printf '%s/%s-%s' "$runs" "$1" "$seed"; }

# prepare COLLECTION: the tokenizer, unless it is there.
prepare() {
  local file
  for file in corpus.jsonl queries.jsonl qrels/test.tsv; do
    [ -e "$1/$file" ] || fail "$1: no collection in BEIR's layout; expected $file in it"
  done
  if [ -e "$runs/collection" ] && [ "$(<"$runs/collection")" != "$(realpath "$1")" ]; then
    fail "$runs holds results on $(<"$runs/collection"); RUNS=FOLDER puts those on another collection elsewhere"
  fi
  mkdir -p "$runs/text"
  realpath "$1" >"$runs/collection"
  [ ! -e "$runs/pieces.model" ] || return 0
  say "Training a tokenizer of 4,096 pieces on $1/corpus.jsonl"
  python3 -c 'import json, sys
for line in sys.stdin:
    document = json.loads(line)
    print(document.get("title", ""), document["text"], "", sep="\n")' <"$1/corpus.jsonl" >"$runs/text/corpus.txt"
  "$palimpsest" tokenizer train "$runs/text" "$runs/pieces.model" --vocab-size 4096
}

# train NAME COLLECTION: trains a row, or goes on with it.
train() {
  local name=$1 sets
  read -ra sets <<<"${row[$name]} ${SETS:-}"
  say "$name, seed $seed: ${row[$name]:-as $config}"
  mpirun -n "$ranks" "$palimpsest" train "$config" --set "train.run_directory=$(run_of "$name")" "train.seed=$seed" \
    "train.precision=$precision" "data.corpus=$2/corpus.jsonl" "data.tokenizer=$runs/pieces.model" "${sets[@]}"
}

# search RUN COLLECTION NAME OPTION...: writes what is found for the collection's queries, unless that has been done.
search() {
  local run=$1 queries=$2/queries.jsonl result=$1/evaluation/$3
  shift 3
  is_measured "$run" "$result.jsonl" ||
    "$palimpsest" search "$run" "$run/index" --queries "$queries" --run "$result.run" --json "$result.jsonl" "$@"
}

# measure NAME COLLECTION: indexes the documents with a row's model, and searches by the memory, by BM25 and by both.
measure() {
  local run judged=$2/qrels/test.tsv
  run=$(run_of "$1")
  if ! is_measured "$run" "$run/index/index.json"; then rm -rf "$run/index"; fi
  mpirun -n "$ranks" "$palimpsest" index "$run" "$2/corpus.jsonl" "$run/index"
  mkdir -p "$run/evaluation"
  search "$run" "$2" bm25 --first-stage only
  search "$run" "$2" memory --first-stage "bm25:$first"
  launch/experiments/interpolate.py "$palimpsest" "$run/evaluation/memory.jsonl" "$judged" "$run/evaluation/both.run"
  say "$1: BM25, and its first $first put in order by the memory alone"
  "$palimpsest" measure "$run/evaluation/bm25.run" "$judged" "$run/evaluation/memory.run"
  say "$1: BM25, and both together"
  "$palimpsest" measure "$run/evaluation/bm25.run" "$judged" "$run/evaluation/both.run"
}

if [ "${1:-}" = --list ]; then
  for name in "${order[@]}"; do printf '%-32s %s\n' "$name" "${row[$name]:-as it is}"; done
  exit
fi
case "${1:-}" in
  "" | -*) sed -n '2,/^# shellcheck/{/^# shellcheck/!s/^# \{0,1\}//p}' "$0"; exit $(($# ? 0 : 2)) ;;
esac
collection=$1
shift
[ $# -gt 0 ] || set -- "${order[@]}"
for name in "$@"; do [ -n "${row[$name]+there}" ] || fail "no row \"$name\"; --list shows them"; done

use_mpi
if [ -z "${PALIMPSEST:-}" ]; then
  install_missing build
  build release palimpsest
fi
prepare "$collection"
for name in "$@"; do
  train "$name" "$collection"
  measure "$name" "$collection"
done
