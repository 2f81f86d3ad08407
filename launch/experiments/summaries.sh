#!/usr/bin/env bash
# The experiment of docs/summaries.md: a model that has read books learns to retell them, writes summaries of books that it
# has never met, and is asked whose summary is whose. Started again it goes on where it was: what is there and newer than the
# run's checkpoint stays, an interrupted training resumes.
#
#   launch/experiments/summaries.sh DATA CORPUS BASE
#
# DATA holds pairs.jsonl and all_epitomes.jsonl (launch/experiments/summaries.py says how), CORPUS all books in PG19's layout,
# among them those of the pairs, BASE is a run directory of launch/experiments/books.sh, or another run on texts.
#
# Environment: RUNS (runs/summaries/BASE's name), TOKENIZER (BASE/tokenizer.model, else BASE/../pieces/pieces.model): BASE's, or bytes, SEED (1): of the
# trainings and of what is drawn at random, RANKS (1), PALIMPSEST: a program that is built already; K (4): segments before a summary through which its gradients flow, ROOM (28): so many
# more a step has for the summary, REGISTER_STEPS (300), PAIR_STEPS (500), SETS: further keys of both trainings; MAX_TOKENS
# (1500) of a written summary, DECODING (--temperature 0.7 --top-p 0.9), WORDS (400): of a summary so many are looked up among
# the books, 0: all.
# shellcheck source=experiment.sh
. "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"

case "${1:-}" in
  "" | -*) show_usage; exit $(($# ? 0 : 2)) ;;
esac
[ $# = 3 ] || fail "expected DATA CORPUS BASE, got $# arguments"
data=$1 corpus=$2 base=$3
runs=${RUNS:-runs/summaries/$(basename "$base")}
tokenizer=${TOKENIZER:-$(tokenizer_of "$base")}
k=${K:-4} room=${ROOM:-28}
read -ra sets <<<"${SETS:-}"
read -ra decoding <<<"${DECODING:---temperature 0.7 --top-p 0.9}"
texts=$runs/texts register=$runs/register-$seed run=$runs/pairs-$seed results=$runs/results-$seed
for name in pairs.jsonl all_epitomes.jsonl; do [ -e "$data/$name" ] || fail "$data: $name is not there"; done
[ -d "$corpus" ] || fail "$corpus: no folder of books"
require_base "$base" "$tokenizer"
segment=$(segment_of "$base")
data_content=$(content_of "$data/pairs.jsonl" "$data/all_epitomes.jsonl") corpus_content=$(content_of "$corpus")
require_source "$runs/base" "$base" results
if [ -e "$texts/queries.jsonl" ]; then
  require_source "$texts/data" "$data" texts "$data_content"
  require_source "$texts/corpus" "$corpus" texts "$corpus_content"
fi

get_ready

helper() { launch/experiments/summaries.py "$@"; }

# of_checkpoint RESULT FILE COMMAND...: makes a result of a file, unless it is there, of the run's newest checkpoint and not older
# than the file.
of_checkpoint() {
  local result=$1 source=$2
  shift 2
  is_measured "$run" "$result" "$source" || "$@"
}

# pack NAME OPTION...: the token file of a file of records, unless it is there.
pack() {
  local name=$1
  shift
  [ -e "$texts/$name.h5" ] || "$palimpsest" pack "$texts/$name.jsonl" "$texts/$name.h5" --tokenizer "$tokenizer" "$@"
}

# train RUN STEPS FROM KEY...: a run of BASE's shape, or goes on with it. Its texts are read one after the other, whatever BASE
# did: gradients through the segments before a summary allow for nothing else.
train() {
  local trained=$1 steps=$2 from=$3
  shift 3
  say "Training $trained, $steps steps from $from"
  mpirun -n "$ranks" "$palimpsest" train "$base/config.yaml" --set "train.run_directory=$trained" "train.initial_weights=$from" \
    "train.seed=$seed" "train.steps=$steps" "train.carry_memory=true" "train.interleave=1" "train.fresh_memory=0" \
    "data.validation=" "data.test=" "evaluation.every=0" \
    "optimizer.learning_rate=5e-4" "optimizer.warmup_steps=20" "$@" "${sets[@]}"
}

mkdir -p "$texts" "$results"
note_source "$runs/base" "$base"
note_source "$texts/data" "$data" "$data_content"
note_source "$texts/corpus" "$corpus" "$corpus_content"
note_settings "$texts/words" "${WORDS:-400}"
note_settings "$results/decoding" "${MAX_TOKENS:-1500}" "${decoding[@]}"
if [ ! -e "$texts/queries.jsonl" ] || [ "$texts/words" -nt "$texts/queries.jsonl" ]; then
  say "Preparing $data"
  helper prepare "$data" "$corpus" "$texts" --words "${WORDS:-400}"
fi
pack register
pack train --records summary
pack asked --records summary
train "$register" "${REGISTER_STEPS:-300}" "$base" "data.train=$texts/register.h5"
train "$run" "${PAIR_STEPS:-500}" "$register" "data.train=$texts/train.h5" "data.segments_before_targets=$k" \
  "train.sequence_length=$(((k + room) * segment))" "train.batch_size=4" "train.micro_batch_size=1"

of_checkpoint "$results/written.jsonl" "$results/decoding" mpirun -n "$ranks" "$palimpsest" summarize "$run" "$texts/asked.jsonl" \
  --max-tokens "${MAX_TOKENS:-1500}" "${decoding[@]}" --seed "$seed" --out "$results/written.jsonl"

# Floors as long as the references, and as long as what the model has written.
[ -e "$results/reference-length/centroid.jsonl" ] ||
  helper floors "$texts/asked.jsonl" summary "$texts/asked.jsonl" "$results/reference-length" --seed "$seed"
of_checkpoint "$results/written-length/centroid.jsonl" "$results/written.jsonl" \
  helper floors "$results/written.jsonl" text "$texts/asked.jsonl" "$results/written-length" --seed "$seed"
tables=()
for length in written reference; do
  for kind in lead random centroid; do tables+=("$run/evaluation/rouge-$kind-$length-length.json"); done
done
of_checkpoint "$run/evaluation/rouge-written.json" "$results/written.jsonl" \
  "$palimpsest" rouge "$texts/asked.jsonl" "$results/written.jsonl" --json "$run/evaluation/rouge-written.json"
for length in written reference; do
  for kind in lead random centroid; do
    extracts=$results/$length-length/$kind.jsonl rouge=$run/evaluation/rouge-$kind-$length-length.json
    of_checkpoint "$rouge" "$extracts" "$palimpsest" rouge "$texts/asked.jsonl" "$extracts" --json "$rouge"
  done
done

# look_up FOLDER INDEX NAME: the likelihood of each summary after each of the books in a folder.
look_up() {
  local folder=$1 index=$2 found=$results/$3
  is_measured "$run" "$found.jsonl" "$texts/queries.jsonl" && return
  say "Reading $folder"
  make_index "$run" "$folder" "$index"
  say "Looking up the summaries among all of $folder"
  "$palimpsest" search "$run" "$index" --queries "$texts/queries.jsonl" --before $'\n\nSummary:\n' --run "$found.run" --json "$found.jsonl"
}

# Whose summary is it? The index is of one checkpoint. What sees nothing but its segment remembers no book. What else knows its first
# or its last segment alone: a segment begins with the token that every document begins with.
remembers=true
! has_kind "$base" local || remembers=false
if $remembers; then
  look_up "$corpus" "$runs/books-$seed.index" search
  for part in first last; do
    [ -e "$texts/$part" ] || launch/experiments/excerpts.py $part "$palimpsest" "$tokenizer" $((segment - 1)) "$corpus" "$texts/$part"
    look_up "$texts/$part" "$runs/$part-$seed.index" "search-$part"
  done
  of_checkpoint "$run/evaluation/search.json" "$results/search.run" \
    "$palimpsest" measure "$results/search.run" "$texts/qrels.txt" --json "$run/evaluation/search.json"
fi
# The true summaries behind their own books, and with the memory knocked out.
for memory in kept none; do
  result=$run/evaluation/summaries-memory-$memory.json
  of_checkpoint "$result" "$texts/asked.h5" mpirun -n "$ranks" "$palimpsest" eval "$run" --data "$texts/asked.h5" --memory "$memory" --json "$result"
done

say "ROUGE of summaries of books that were not trained on, and of extracts of as many words as were written or as the references have"
helper table "$run/evaluation/rouge-written.json" "${tables[@]}"
if $remembers; then
  say "The likelihood of each summary after its own book's memory, among all books"
  helper ranking "$texts/queries.jsonl" "$results/search.jsonl" "$texts/qrels.txt" "$results/ranking.json"
  for part in first last; do
    say "The same of what remembers the $part $((segment - 1)) tokens of each book"
    helper ranking "$texts/queries.jsonl" "$results/search-$part.jsonl" "$texts/qrels.txt" "$results/ranking-$part.json"
  done
  helper margins "$results/ranking.json" "$results/ranking-first.json" "$results/ranking-last.json"
fi
say "The likelihood of the true summaries of the asked books, memory kept and knocked out"
"$palimpsest" compare "$run/evaluation/summaries-memory-kept.json" "$run/evaluation/summaries-memory-none.json"
