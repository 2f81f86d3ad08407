#!/usr/bin/env bash
# The experiment of docs/search.md, "An experiment with books": a model that has read books learns to find one, and is asked whose
# sentence and whose retelling that is, among all books. Only what has read the whole book can know. Trains one row after another,
# reads the books with each, searches, and prints a table. Started again it goes on where it was: what is trained, read and searched
# stays, an interrupted training or index resumes.
#
#   launch/experiments/book_search.sh DATA CORPUS BASE                 every row that BASE's attention can be trained for
#   launch/experiments/book_search.sh DATA CORPUS BASE base contrast   these rows
#   launch/experiments/book_search.sh --list                           what rows there are, and what each changes
#
# DATA holds pairs.jsonl (launch/experiments/book_search.py says how), CORPUS all books in PG19's layout, among them those of the pairs,
# BASE is a run directory of launch/experiments/books.sh, or another run on texts with a memory.
#
# Environment: RUNS (runs/book-search/BASE's name), TOKENIZER (BASE/tokenizer.model, else BASE/../pieces/pieces.model): BASE's, or bytes, SEED (1): of the trainings
# and of what is drawn at random, RANKS (1), PRECISION (float32), PALIMPSEST: a program that is built already; STEPS (300), SEGMENTS (8): that a
# passage of a book has at most in training, SETS: further keys of every training; SENTENCES (1000): so many are taken out of the books
# and asked for, WORDS (48): of a paragraph so many are asked, 0: all, FIRST (1000): how many books BM25 hands to the model.
# shellcheck source=experiment.sh
. "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"

segments=${SEGMENTS:-8}
row=(
  [base]=""  # not trained for it
  [generative]=""
  # Four passages are asked each other's queries; of an attention that takes it.
  [contrast]="data.contrast=0.1 data.contrast_documents=4 train.batch_size=2"
)
order=(base generative contrast)

# write_config: BASE's model, to be trained on queries of passages. A share of the sentences also stays where it was, since at search most words
# of a query stand elsewhere in the book.
write_config() {
  awk '/^[a-z]/ { own = /^model:/ } own' "$base/config.yaml"
  cat <<END
data:
  kind: queries
  corpus: "$texts/passages.jsonl"
  tokenizer: "$tokenizer"
  titles: 0
  first_sentences: 0
  sentences: 1
  text_loss: 0.1
train:
  initial_weights: "$base"
  steps: ${STEPS:-300}
  batch_size: 8
  sequence_length: $(((segments + 1) * segment))
  carry_memory: false
  log_every: 20
optimizer:
  learning_rate: 5e-4
  memory_gate_learning_rate: 5e-3
  warmup_steps: 20
  decay: cosine
  final_learning_rate_ratio: 0.1
checkpoint:
  every: 50
  keep_last: 1
END
}

# take_base: a run directory whose model is BASE's, for results of its own.
take_base() {
  local run part
  run=$(run_of base)
  mkdir -p "$run"
  for part in config.yaml checkpoints; do ln -sfn "$(realpath "$base/$part")" "$run/$part"; done
}

# compare RUN QUERIES NAME ONE OTHER: measures two searches for queries of one kind, of all books and of those that were not trained on,
# if there are any.
compare() {
  local run=$1 queries=$2 name=$3 unmet result
  for unmet in "" -unmet; do
    result=$run/evaluation/$queries-$name$unmet.json
    if [ ! -s "$texts/$queries$unmet.tsv" ]; then
      rm -f "$result"
      continue
    fi
    "$palimpsest" measure "$run/evaluation/$queries-$4.run" "$texts/$queries$unmet.tsv" "$run/evaluation/$queries-$5.run" \
      --complete --json "$result" >/dev/null
    tables+=("$result")
  done
}

# search_with NAME: reads the books, whole and to the end of their first segment, and searches by the memory, by BM25 and by both.
search_with() {
  local run queries tables=()
  run=$(run_of "$1")
  mkdir -p "$run/evaluation"
  note_settings "$run/evaluation/settings" "FIRST ${FIRST:-1000}" "$texts_content"
  say "$1: reading $texts/books"
  make_index "$run" "$texts/books" "$run/index"
  # A segment begins with the token that every document begins with.
  if [ ! -e "$run/first" ] || [ "$texts/passages.jsonl" -nt "$run/first" ]; then
    launch/experiments/excerpts.py first "$palimpsest" "$tokenizer" $(($(segment_of "$run") - 1)) "$texts/books" "$run/first"
  fi
  make_index "$run" "$run/first" "$run/first-index"
  for queries in sentences paragraphs; do
    say "$1: searching for $queries"
    search "$run" "$run/index" "$texts/$queries.jsonl" "$queries-bm25" --first-stage only
    search "$run" "$run/index" "$texts/$queries.jsonl" "$queries-memory" --first-stage "bm25:${FIRST:-1000}"
    search "$run" "$run/first-index" "$texts/$queries.jsonl" "$queries-first"
    launch/experiments/interpolate.py "$palimpsest" "$run/evaluation/$queries-memory.jsonl" "$texts/$queries.tsv" \
      "$run/evaluation/$queries-both.run"
    compare "$run" "$queries" first-memory first memory
    compare "$run" "$queries" bm25-memory bm25 memory
    compare "$run" "$queries" bm25-both bm25 both
  done
  say "$1: what was found"
  launch/experiments/book_search.py table "$texts/books" "${FIRST:-1000}" "${tables[@]}"
}

case "${1:-}" in
  --list) list_rows; exit ;;
  "" | -*) show_usage; exit $(($# ? 0 : 2)) ;;
esac
[ $# -ge 3 ] || fail "expected DATA CORPUS BASE, got $# arguments"
data=$1 corpus=$2 base=$3
shift 3
runs=${RUNS:-runs/book-search/$(basename "$base")}
tokenizer=${TOKENIZER:-$(tokenizer_of "$base")}
texts=$runs/texts
[ -e "$data/pairs.jsonl" ] || fail "$data: pairs.jsonl is not there"
[ -d "$corpus" ] || fail "$corpus: no folder of books"
require_base "$base" "$tokenizer"
! has_kind "$base" local || fail "$base: of attention kind local, which remembers no book; expected a kind that carries its memory on"
if [ $# = 0 ]; then
  has_kind "$base" infini && grep -q '^    overlap: 0$' "$base/config.yaml" || order=(base generative)
  set -- "${order[@]}"
fi
check_rows "$@"
data_content=$(content_of "$data/pairs.jsonl") corpus_content=$(content_of "$corpus")
require_source "$runs/base" "$base" results
if [ -e "$texts/passages.jsonl" ]; then
  require_source "$texts/data" "$data" texts "$data_content"
  require_source "$texts/corpus" "$corpus" texts "$corpus_content"
fi
segment=$(segment_of "$base")
# Of four passages in a lane each has its own query and three others.
row[contrast]+=" train.sequence_length=$((4 * (segments + 4) * segment))"

get_ready
mkdir -p "$texts"
note_source "$runs/base" "$base"
note_source "$texts/data" "$data" "$data_content"
note_source "$texts/corpus" "$corpus" "$corpus_content"
# About three letters a token, so that a passage fills its segments.
passage=$((3 * segments * segment * 3 / 4))
note_settings "$texts/settings" "SENTENCES ${SENTENCES:-1000}" "WORDS ${WORDS:-48}" "letters of a passage $passage" "SEED $seed"
if [ ! -e "$texts/passages.jsonl" ] || [ "$texts/settings" -nt "$texts/passages.jsonl" ]; then
  say "Preparing $corpus"
  launch/experiments/book_search.py prepare "$data/pairs.jsonl" "$corpus" "$texts" --sentences "${SENTENCES:-1000}" \
    --words "${WORDS:-48}" --passage "$passage" --seed "$seed"
fi
texts_content=$(find "$texts"/{books,sentences.jsonl,paragraphs.jsonl} -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | sha256sum)
config=$runs/searcher.yaml
write_config >"$config"
for name in "$@"; do
  if [ "$name" = base ]; then take_base; else train_row "$name"; fi
  search_with "$name"
done
