#!/usr/bin/env bash
# The experiment of docs/books.md: systems of one shape side by side on books. Prepares the corpus, trains one row of the
# table after another, measures each on the test split, and compares them. Started again it goes on where it was: what is
# trained and measured stays, an interrupted training resumes.
#
#   launch/experiments/books.sh CORPUS                every row; CORPUS is a folder in PG19's layout (docs/data.md)
#   launch/experiments/books.sh CORPUS local linear   these rows
#   launch/experiments/books.sh --list                what rows there are, and what each changes in configs/books.yaml
#
# Environment: SEED (1), PRECISION (float32), RUNS (runs/books), RANKS (1): how many ranks train, SETS: further keys for
# every row, such as another shape, PALIMPSEST: a program that is built already.
# shellcheck source=../scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

config=configs/books.yaml
seed=${SEED:-1} precision=${PRECISION:-float32} runs=${RUNS:-runs/books} ranks=${RANKS:-1}
palimpsest=${PALIMPSEST:-build/release/palimpsest}
pieces=$runs/pieces

# Keys of configs/books.yaml that a row changes, in the order in which rows are trained.
best="model.attention.memory_readout=rms model.attention.gate=add model.attention.memory_decay=true model.attention.overlap=32"
declare -A row=(
  # Systems.
  [local]="model.attention.kind=local"
  [transformer-xl]="model.attention.kind=transformer_xl"
  [linear]=""
  [best]="$best"
  [transformer-xl-gradient]="model.attention.kind=transformer_xl model.attention.cache_gradient=true"
  # The overlap of the best system, as a cache of so many tokens, and no memory.
  [overlap-alone]="model.attention.kind=transformer_xl model.attention.cache_gradient=true model.attention.cache_length=32"
  [linear-gate-0]="model.attention.initial_gate=0"
  [delta]="model.attention.memory_update=delta"
  [delta-gate-0]="model.attention.memory_update=delta model.attention.initial_gate=0"
  [recurrent-memory]="model.attention.kind=recurrent_memory"
  [memorizing]="model.attention.kind=memorizing model.attention.initial_gate=-3"
  [full]="model.attention.kind=full train.batch_size=4 train.sequence_length=4096 train.carry_memory=false data.validation="
  # Longer training sequences, 16 lanes throughout: as many steps and so more tokens ...
  [linear-2-segments]="train.sequence_length=512"
  [linear-16-segments]="train.sequence_length=4096"
  # ... or as many tokens and so fewer steps; and memory that starts anew with every sequence.
  [linear-2-segments-same-tokens]="train.steps=2442 train.sequence_length=512"
  [linear-16-segments-same-tokens]="train.steps=305 train.sequence_length=4096"
  [linear-64-segments-same-tokens]="train.steps=76 train.sequence_length=16384 optimizer.warmup_steps=20"
  [linear-not-carried]="train.carry_memory=false"
  # What made Infini-attention fail elsewhere: gates that learn no faster than weights, memory without gradient (sequences
  # of one segment, whose memory is carried and detached).
  [linear-slow-gates]="model.attention.initial_gate=0 optimizer.memory_gate_learning_rate=2e-3"
  [linear-detached]="train.batch_size=64 train.sequence_length=256"
)
order=(local transformer-xl linear best transformer-xl-gradient overlap-alone linear-gate-0 delta delta-gate-0
  recurrent-memory memorizing full linear-2-segments-same-tokens linear-16-segments-same-tokens
  linear-64-segments-same-tokens linear-not-carried linear-slow-gates linear-detached linear-2-segments linear-16-segments)

run_of() { printf '%s/%s-%s' "$runs" "$1" "$seed"; }

# prepare CORPUS: the tokenizer and the token files, unless they are there.
prepare() {
  if [ -e "$pieces/corpus" ] && [ "$(<"$pieces/corpus")" != "$(realpath "$1")" ]; then
    fail "$pieces holds the pieces of $(<"$pieces/corpus"); RUNS=FOLDER puts those of another corpus elsewhere"
  fi
  if [ -e "$pieces/train.h5" ] && [ -e "$pieces/validation.h5" ] && [ -e "$pieces/test.h5" ]; then
    return
  fi
  [ -d "$1/train" ] || fail "$1: no folder in PG19's layout; expected train/, validation/ and test/ in it"
  if [ ! -e "$pieces/pieces.model" ]; then
    say "Training a tokenizer of 4,096 pieces on $1/train"
    mkdir -p "$pieces"
    "$palimpsest" tokenizer train "$1" "$pieces/pieces.model" --vocab-size 4096 --max-sentences 200000 --split-digits
  fi
  realpath "$1" >"$pieces/corpus"
  say "Packing $1"
  "$palimpsest" pack "$1" "$pieces" --tokenizer "$pieces/pieces.model" --force
}

# measure NAME RESULT OPTION...: evaluates a row on the test split, unless that has been done.
measure() {
  local run result
  run=$(run_of "$1") result=$(run_of "$1")/evaluation/$2.json
  shift 2
  is_measured "$run" "$result" || mpirun -n "$ranks" "$palimpsest" eval "$run" --split test --json "$result" "$@"
}

# train NAME: trains a row, or goes on with it, and measures it.
train() {
  local name=$1 sets
  read -ra sets <<<"${row[$name]} ${SETS:-}"
  say "$name, seed $seed: ${row[$name]:-as $config}"
  mpirun -n "$ranks" "$palimpsest" train "$config" --set "train.run_directory=$(run_of "$name")" "train.seed=$seed" \
    "train.precision=$precision" "data.train=$pieces/train.h5" "data.validation=$pieces/validation.h5" \
    "data.test=$pieces/test.h5" "${sets[@]}"
  case $name in
    full) measure "$name" test --window 4096 ;;
    local) measure "$name" test; measure "$name" test-windows --window 256 --stride 64 ;;
    *) measure "$name" test; measure "$name" test-memory-none --memory none ;;
  esac
}

if [ "${1:-}" = --list ]; then
  for name in "${order[@]}"; do printf '%-32s %s\n' "$name" "${row[$name]:-as it is}"; done
  exit
fi
case "${1:-}" in
  "" | -*) sed -n '2,/^# shellcheck/{/^# shellcheck/!s/^# \{0,1\}//p}' "$0"; exit $(($# ? 0 : 2)) ;;
esac
corpus=$1
shift
[ $# -gt 0 ] || set -- "${order[@]}"
for name in "$@"; do [ -n "${row[$name]+there}" ] || fail "no row \"$name\"; --list shows them"; done

use_mpi
if [ -z "${PALIMPSEST:-}" ]; then
  install_missing build
  build release palimpsest
fi
prepare "$corpus"
results=()
for name in "$@"; do
  train "$name"
  results+=("$(run_of "$name")/evaluation/test.json")
done
[ ${#results[@]} -lt 2 ] || "$palimpsest" compare "${results[@]}"
