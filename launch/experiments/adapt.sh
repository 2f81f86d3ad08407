#!/usr/bin/env bash
# The experiment of docs/continued-training.md: a Llama of the books' shape is trained on windows of 1,024 tokens, exported
# as a Hugging Face folder and given a memory, with which it goes on for a tenth of the tokens on long sequences; and one
# of these models then learns abstracts of papers, with several means against forgetting the books. Trains one row after
# another, measures each, and prints tables. Started again it goes on where it was.
#
#   launch/experiments/adapt.sh CORPUS ABSTRACTS            every row; CORPUS is a folder in PG19's layout, ABSTRACTS a
#                                                           file of records with `text` (docs/data.md)
#   launch/experiments/adapt.sh CORPUS ABSTRACTS all-best   this row, after those that it begins with
#   launch/experiments/adapt.sh --list                      what rows there are, and what each changes
#
# Environment: STEPS (1221): of the parent, of 16,384 tokens; what goes on from it takes a tenth as many tokens,
# abstracts a twentieth. SEED (1), PRECISION (float32), RUNS (runs/adapt), RANKS (1, or 2): how many ranks train,
# DOCUMENTS (all): only the first so many books of a split are measured, SETS: further keys for every row, such as
# another shape, PALIMPSEST: a program that is built already.
# shellcheck source=experiment.sh
. "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"

steps=${STEPS:-1221}

# Keys of configs/books.yaml that a row changes, besides those that `changes_of` says for all rows of its kind.
delta="model.attention.memory_update=delta"
untrained="model.attention.kind=infini model.attention.initial_gate=-3"
row=(
  # The model before: a Llama.
  [parent]="model.attention.kind=full train.carry_memory=false train.steps=$steps"
  # With a memory that nothing has trained; and with nothing but the overlap of `best`.
  [imported-linear]="$untrained" [imported-best]="$untrained $best"
  [imported-overlap]="model.attention.kind=transformer_xl model.attention.cache_length=32"
  # Continued: no memory, the memory's own parameters, all weights, all weights that learn from the parent as well.
  [local]="model.attention.kind=local"
  [memory-linear]="" [memory-delta]="$delta" [memory-best]="$best"
  [all-linear]="" [all-delta]="$delta" [all-best]="$best" [all-best-gain]="$best"
  [distilled-linear]="" [distilled-delta]="$delta" [distilled-best]="$best"
  # Segments of a quarter of the parent's window, which learn from it what stands further back, or do not.
  [short-best]="$best" [short-distilled-best]="$best"
  # As many tokens as the parent and a continued row together, from random weights.
  [scratch-best]="$best train.steps=$((steps * 11 / 10)) train.batch_size=8 train.sequence_length=2048"
  # The new domain.
  [abstracts]="" [abstracts-replay-10]="" [abstracts-replay-25]=""
  [abstracts-slow-replay-25]="optimizer.learning_rate=1e-4"
  [abstracts-decay-10]="optimizer.decay_toward_initial=10" [abstracts-decay-100]="optimizer.decay_toward_initial=100"
)
order=(parent imported-linear imported-best imported-overlap local all-best all-best-gain all-linear memory-best
  memory-linear distilled-best distilled-linear abstracts abstracts-replay-10 abstracts-replay-25
  abstracts-slow-replay-25 abstracts-decay-10 abstracts-decay-100 short-best short-distilled-best all-delta
  memory-delta distilled-delta scratch-best)

model=$runs/parent-$seed-exported  # the Hugging Face folder
abstracts=$runs/abstracts test=test${DOCUMENTS:+-of-$DOCUMENTS}
excerpts=$runs/excerpts.h5  # of the training books
validation=$runs/pieces/validation${DOCUMENTS:+-$DOCUMENTS}.h5

# changes_of NAME: puts into `changes` what rows of this kind change.
changes_of() {
  local share=0
  changes=(model.segment_length=1024 data.validation=)
  case $1 in
    parent | imported-* | scratch-*) return ;;
    abstracts*)
      # From memory-best on, in lanes as the parent had them; a share of the tokens is of the books.
      read -ra changes <<<"${changes[*]} $best"
      changes+=("train.initial_weights=$(run_of memory-best)" "train.steps=$((steps / 20))"
        optimizer.learning_rate=5e-4 optimizer.warmup_steps=5)
      case $1 in *-replay-*) share=${1##*-} ;; esac
      if [ "$share" = 0 ]; then
        changes+=("data.train=$abstracts/train.h5")
      else
        changes+=("data.train=[{name: abstracts, file: $abstracts/train.h5, weight: $((100 - share))},
          {name: books, file: $excerpts, weight: $share}]")
      fi
      changes+=("evaluation.sets=[{name: abstracts, file: $abstracts/validation.h5}, {name: books, file: $validation}]")
      ;;
    *)
      # Sequences of 16 segments, at the rate at which the parent ended: few books at a time soon draw the weights away
      # from all others.
      changes+=("train.initial_weights=$model" train.batch_size=4 train.sequence_length=16384 "train.steps=$((steps / 40))"
        optimizer.learning_rate=1e-4 optimizer.warmup_steps=3)
      ;;
  esac
  # Gates have few steps to move in.
  changes+=(optimizer.memory_gate_learning_rate=0.1)
  case $1 in
    # These can't be drawn away: fewer lanes, and more steps.
    memory-*) changes+=(train.trainable=memory train.batch_size=2 "train.steps=$((steps / 20))" optimizer.learning_rate=0.01
        optimizer.warmup_steps=5) ;;
    all-best-gain) changes+=("optimizer.learning_rate_multipliers=[{parameters: \"*.memory_gain\", factor: 100}]") ;;
    distilled-*) changes+=(distillation.share=0.5 distillation.attention=local) ;;
    short-distilled-*) changes+=(model.segment_length=256 distillation.share=0.5 distillation.attention=local distillation.window=1024) ;;
    short-*) changes+=(model.segment_length=256) ;;
  esac
}

# export_parent: the parent as a Hugging Face folder, of its newest checkpoint.
export_parent() {
  is_measured "$(run_of parent)" "$model/config.json" || "$palimpsest" export "$(run_of parent)" "$model" --force
}

# import_parent NAME: a run directory made of that folder, anew if the parent has been trained further since.
import_parent() {
  local run sets
  run=$(run_of "$1")
  if is_measured "$(run_of parent)" "$run/config.yaml"; then return; fi
  rm -rf "$run"
  read -ra sets <<<"${row[$1]} ${SETS:-}"
  say "$1, seed $seed: ${row[$1]:-as it is}"
  "$palimpsest" import "$model" "$run" --set "train.precision=$precision" "data.test=$runs/pieces/test.h5" "${sets[@]}"
}

# state_of NAME: the newest checkpoint of a row, and what the row has begun with.
state_of() {
  local run checkpoints
  run=$(run_of "$1")
  checkpoints=("$run"/checkpoints/step-*)
  printf '%s\n' "$1 ${checkpoints[-1]##*/}"
  if [ -e "$run.begun-with" ]; then cat "$run.begun-with"; fi
}

# begin_with FROM NAME: notes beside a row what it begins with; stops if it has begun and that has been trained further since.
begin_with() {
  local run state
  run=$(run_of "$2") state=$(state_of "$1")
  if [ ! -e "$run" ]; then
    mkdir -p "$runs"
    printf '%s\n' "$state" >"$run.begun-with"
  elif [ -e "$run.begun-with" ] && [ "$(<"$run.begun-with")" != "$state" ]; then
    fail "$run has begun with $(paste -sd, "$run.begun-with"), and now there is $(paste -sd, <<<"$state"); remove" \
      "the folder to train the row anew, or RUNS=FOLDER puts all rows elsewhere"
  fi
}

# excerpts_of BOOK FOLDER: the first 1,000 lines of a text, in files of at most 2,000 bytes each, or of one longer line.
excerpts_of() {
  head -n 1000 "$1" | LC_ALL=C name="$2/$(basename "$1" .txt)" awk '{
    size = length($0) + 1
    if (file == "" || held + size > 2000) {
      if (file != "") close(file)
      file = sprintf("%s-%03d.txt", ENVIRON["name"], number++)
      held = 0
    }
    print > file
    held += size
  }'
}

# require_plain_texts CORPUS: stops unless its books are text files as they are, of which excerpts can be made.
require_plain_texts() {
  local split compressed
  for split in train validation; do
    [ -d "$1/$split" ] || fail "$1: no folder in PG19's layout; expected train/, validation/ and test/ in it"
  done
  compressed=$(find "$1"/{train,validation}/ \( -name '*.txt.gz' -o -name '*.txt.zst' \) -print -quit)
  [ -z "$compressed" ] || fail "$compressed: compressed; expected files *.txt, of which excerpts can be made"
  compgen -G "$1/train/*.txt" >/dev/null || fail "$1/train: holds no *.txt"
}

# read_test NAME RESULT OPTION...: measures a row on the books of the test split; the result's name begins with $test.
read_test() {
  local run result=$test$2
  run=$(run_of "$1")
  shift 2
  measure "$run" "$result" --split test ${DOCUMENTS:+--max-documents "$DOCUMENTS"} "$@"
}

# train NAME: trains a row and what it begins with, or goes on with it, and measures it, once.
train() {
  local name=$1 changes
  [ -z "${trained[$name]:-}" ] || return 0
  case $name in
    parent | scratch-*) ;;
    abstracts*) train memory-best; begin_with memory-best "$name" ;;
    imported-*) train parent; export_parent ;;
    *) train parent; export_parent; begin_with parent "$name" ;;
  esac
  changes_of "$name"
  case $name in
    imported-*) import_parent "$name" ;;
    *) train_row "$name" "${books[@]}" "${changes[@]}" ;;
  esac
  case $name in
    # Windows alone, as the model was trained; and with half a window at least before each token.
    parent)
      read_test "$name" "" --window 1024 --stride 1024
      read_test "$name" -sliding --window 1024 --stride 512
      ;;
    local | imported-overlap | abstracts*) read_test "$name" "" ;;
    *)
      read_test "$name" ""
      read_test "$name" -memory-none --memory none
      ;;
  esac
  trained[$name]=yes
}

case "${1:-}" in
  --list) list_rows; exit ;;
  "" | -*) show_usage; exit $(($# ? 0 : 2)) ;;
esac
[ $# -gt 1 ] || fail "no file of abstracts given"
corpus=$1 records=$2
shift 2
[ $# -gt 0 ] || set -- "${order[@]}"
check_rows "$@"
require_plain_texts "$corpus"
[ -e "$records" ] || fail "$records: no such file of abstracts"
require_source "$abstracts/source" "$records" abstracts

get_ready
prepare "$corpus"
if [ ! -e "$abstracts/train.h5" ] || [ ! -e "$abstracts/validation.h5" ]; then
  mkdir -p "$abstracts"
  realpath "$records" >"$abstracts/source"
  "$palimpsest" pack "$records" "$abstracts" --tokenizer "$runs/pieces/pieces.model" --split-by hash:90/5/5 --force
fi
if [ ! -e "$excerpts" ]; then
  # Texts are mixed by whole documents, so only texts as short as the abstracts have their share in so short a run.
  folder=$runs/excerpts
  rm -rf "$folder"
  mkdir "$folder"
  for book in "$corpus"/train/*.txt; do excerpts_of "$book" "$folder"; done
  "$palimpsest" pack "$folder" "$excerpts" --tokenizer "$runs/pieces/pieces.model"
  rm -r "$folder"
fi
if [ ! -e "$validation" ]; then
  # The first books alone.
  first=$runs/first-books
  rm -rf "$first"
  mkdir "$first"
  find "$(realpath "$corpus")/validation" -name '*.txt' | LC_ALL=C sort | sed "${DOCUMENTS}q" | xargs -d '\n' ln -s -t "$first"
  "$palimpsest" pack "$first" "$validation" --tokenizer "$runs/pieces/pieces.model"
  rm -r "$first"
fi
declare -A trained=()
train parent
results=("$(run_of parent)"/evaluation/"$test"{,-sliding}.json) histories=()
for name in "$@"; do
  train "$name"
  case $name in
    parent) ;;
    abstracts*) histories+=("$(run_of "$name")/metrics.jsonl") ;;&
    *) results+=("$(run_of "$name")/evaluation/$test.json") ;;
  esac
done
"$palimpsest" compare "${results[@]}"
[ ${#histories[@]} = 0 ] || launch/experiments/forgetting.py "${histories[@]}"
