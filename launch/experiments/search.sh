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
# shellcheck source=experiment.sh
. "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"

config=configs/search.yaml first=${FIRST:-100}
row=(
  [generative]=""
  # Four documents are asked each other's queries: ten segments a document.
  [contrast]="data.contrast=0.1 data.contrast_documents=4 train.sequence_length=2560 train.batch_size=2"
)
order=(generative contrast)

# prepare_collection COLLECTION: the tokenizer, unless it is there.
prepare_collection() {
  local file
  for file in corpus.jsonl queries.jsonl qrels/test.tsv; do
    [ -e "$1/$file" ] || fail "$1: no collection in BEIR's layout; expected $file in it"
  done
  require_source "$runs/collection" "$1" results
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

# search_with NAME COLLECTION: indexes the documents with a row's model, and searches by the memory, by BM25 and by both.
search_with() {
  local run judged=$2/qrels/test.tsv
  run=$(run_of "$1")
  make_index "$run" "$2/corpus.jsonl" "$run/index"
  mkdir -p "$run/evaluation"
  note_settings "$run/evaluation/settings" "FIRST $first" "corpus.jsonl $(sha256sum <"$2/corpus.jsonl")" \
    "queries.jsonl $(sha256sum <"$2/queries.jsonl")"
  search "$run" "$run/index" "$2/queries.jsonl" bm25 --first-stage only
  search "$run" "$run/index" "$2/queries.jsonl" memory --first-stage "bm25:$first"
  launch/experiments/interpolate.py "$palimpsest" "$run/evaluation/memory.jsonl" "$judged" "$run/evaluation/both.run"
  say "$1: BM25, and its first $first put in order by the memory alone"
  "$palimpsest" measure "$run/evaluation/bm25.run" "$judged" "$run/evaluation/memory.run" --json "$run/evaluation/memory.json"
  say "$1: BM25, and both together"
  "$palimpsest" measure "$run/evaluation/bm25.run" "$judged" "$run/evaluation/both.run" --json "$run/evaluation/both.json"
}

case "${1:-}" in
  --list) list_rows; exit ;;
  "" | -*) show_usage; exit $(($# ? 0 : 2)) ;;
esac
collection=$1
shift
[ $# -gt 0 ] || set -- "${order[@]}"
check_rows "$@"

get_ready
prepare_collection "$collection"
for name in "$@"; do
  train_row "$name" "data.corpus=$collection/corpus.jsonl" "data.tokenizer=$runs/pieces.model"
  search_with "$name" "$collection"
done
