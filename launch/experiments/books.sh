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
# shellcheck source=experiment.sh
. "$(dirname "${BASH_SOURCE[0]}")/experiment.sh"

# The overlap of the best system, as a cache of so many tokens, and no memory.
overlap="model.attention.kind=transformer_xl model.attention.cache_gradient=true model.attention.cache_length=32"

row=(
  # Systems.
  [local]="model.attention.kind=local"
  [transformer-xl]="model.attention.kind=transformer_xl"
  [linear]=""
  [best]="$best"
  [associative]="$associative"
  [transformer-xl-gradient]="model.attention.kind=transformer_xl model.attention.cache_gradient=true"
  [overlap-alone]="$overlap"
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
  # One lane in ten begins a step with an empty memory, as a reader of a new book does.
  [linear-fresh]="train.fresh_memory=0.1"
  [best-fresh]="$best train.fresh_memory=0.1"
  # Each lane reads four books in turn, so that gradients that follow each other are less alike.
  [local-in-turn]="model.attention.kind=local train.interleave=4"
  [transformer-xl-in-turn]="model.attention.kind=transformer_xl train.interleave=4"
  [overlap-alone-in-turn]="$overlap train.interleave=4"
  [linear-in-turn]="train.interleave=4"
  [best-in-turn]="$best train.interleave=4"
  [transformer-xl-gradient-in-turn]="model.attention.kind=transformer_xl model.attention.cache_gradient=true train.interleave=4"
  [associative-in-turn]="$associative train.interleave=4"
  # What of it helps: each of its three options taken back.
  [associative-elu-in-turn]="$associative model.attention.memory_features=elu train.interleave=4"
  [associative-query-in-turn]="$associative model.attention.memory_query=query train.interleave=4"
  [associative-no-shift-in-turn]="$associative model.attention.memory_shift=false train.interleave=4"
  [overlap-alone-in-turn-16]="$overlap train.interleave=16"
  [best-in-turn-16]="$best train.interleave=16"
  # What made Infini-attention fail elsewhere: gates that learn no faster than weights, gates that decay as weights do,
  # memory without gradient (sequences of one segment, whose memory is carried and detached).
  [linear-slow-gates]="model.attention.initial_gate=0 optimizer.memory_gate_learning_rate=2e-3"
  [linear-decayed-gates]="optimizer.memory_gate_weight_decay=0.1"
  [linear-detached]="train.batch_size=64 train.sequence_length=256"
)
order=(local transformer-xl linear best associative transformer-xl-gradient overlap-alone linear-gate-0 delta delta-gate-0
  recurrent-memory memorizing full linear-2-segments-same-tokens linear-16-segments-same-tokens
  linear-64-segments-same-tokens local-in-turn transformer-xl-in-turn overlap-alone-in-turn linear-in-turn best-in-turn
  transformer-xl-gradient-in-turn associative-in-turn associative-elu-in-turn associative-query-in-turn
  associative-no-shift-in-turn
  overlap-alone-in-turn-16 best-in-turn-16
  linear-not-carried linear-fresh best-fresh linear-slow-gates linear-decayed-gates
  linear-detached linear-2-segments linear-16-segments)

# train NAME: trains a row, or goes on with it, and measures it.
train() {
  local run
  run=$(run_of "$1")
  train_row "$1" "${books[@]}"
  case $1 in
    full) measure "$run" test --split test --window 4096 ;;
    local)
      measure "$run" test --split test
      measure "$run" test-windows --split test --window 256 --stride 64
      ;;
    *)
      measure "$run" test --split test
      measure "$run" test-memory-none --split test --memory none
      ;;
  esac
}

case "${1:-}" in
  --list) list_rows; exit ;;
  "" | -*) show_usage; exit $(($# ? 0 : 2)) ;;
esac
corpus=$1
shift
[ $# -gt 0 ] || set -- "${order[@]}"
check_rows "$@"

get_ready
prepare "$corpus"
results=()
for name in "$@"; do
  train "$name"
  results+=("$(run_of "$name")/evaluation/test.json")
done
[ ${#results[@]} -lt 2 ] || "$palimpsest" compare "${results[@]}"
