# shellcheck shell=bash
# What the experiments of this folder share: their settings, the corpus in tokens, rows of a table that are trained and
# measured once. To be sourced by a script whose first comment says how it is used; what rows it has, it says in `row`
# and `order`.
# shellcheck source=../scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

seed=${SEED:-1} precision=${PRECISION:-float32} ranks=${RANKS:-1}
runs=${RUNS:-runs/$(basename "$0" .sh)}
palimpsest=${PALIMPSEST:-build/release/palimpsest}
config=configs/books.yaml
# Where `prepare` puts the books, for those that train on them.
# shellcheck disable=SC2034
books=("data.train=$runs/pieces/train.h5" "data.validation=$runs/pieces/validation.h5" "data.test=$runs/pieces/test.h5")
declare -A row=()  # by name the keys of the configuration that a row changes
order=()           # in which rows are trained

# The options that gained most beside the memory in trials outside this program.
# shellcheck disable=SC2034
best="model.attention.memory_readout=rms model.attention.gate=add model.attention.memory_decay=true model.attention.overlap=32"

# show_usage: the comment that the script begins with.
show_usage() { sed -n '2,/^# shellcheck/{/^# shellcheck/!s/^# \{0,1\}//p}' "launch/experiments/$(basename "$0")"; }

list_rows() {
  local name
  for name in "${order[@]}"; do printf '%-32s %s\n' "$name" "${row[$name]:-as it is}"; done
}

# check_rows NAME...: stops over a row that there is not.
check_rows() {
  local name
  for name in "$@"; do [ -n "${row[$name]+there}" ] || fail "no row \"$name\"; --list shows them"; done
}

# get_ready: mpirun's environment, and the program, unless there is one.
get_ready() {
  use_mpi
  if [ -z "${PALIMPSEST:-}" ]; then
    install_missing build
    build release palimpsest
  fi
}

run_of() { printf '%s/%s-%s' "$runs" "$1" "$seed"; }

# require_source STAMP PATH WHAT: stops if the stamp, a file, says that its folder was made of another file or folder.
require_source() {
  if [ -e "$1" ] && [ "$(<"$1")" != "$(realpath "$2")" ]; then
    fail "$(dirname "$1") holds the $3 of $(<"$1"); RUNS=FOLDER puts those of $2 elsewhere"
  fi
}

# note_settings STAMP SETTING...: writes down with what settings results are made from now on, if the stamp says otherwise.
# What is older than the stamp was made with others: is_measured takes it as a FILE.
note_settings() {
  local stamp=$1
  shift
  [ -e "$stamp" ] && [ "$(<"$stamp")" = "$(printf '%s\n' "$@")" ] || printf '%s\n' "$@" >"$stamp"
}

# prepare CORPUS: the tokenizer and the token files in $runs/pieces, unless they are there.
prepare() {
  local pieces=$runs/pieces
  require_source "$pieces/corpus" "$1" pieces
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

# train_row NAME [KEY=VALUE]...: trains a row, or goes on with it, with these keys, those of the row and those of SETS, of
# which later ones count.
train_row() {
  local name=$1 sets
  shift
  read -ra sets <<<"${row[$name]} ${SETS:-}"
  say "$name, seed $seed: ${row[$name]:-as $config}"
  mpirun -n "$ranks" "$palimpsest" train "$config" --set "train.run_directory=$(run_of "$name")" "train.seed=$seed" \
    "train.precision=$precision" "$@" "${sets[@]}"
}

# measure RUN RESULT OPTION...: evaluates a run directory, unless that has been done.
measure() {
  local run=$1 result=$1/evaluation/$2.json
  shift 2
  is_measured "$run" "$result" || mpirun -n "$ranks" "$palimpsest" eval "$run" --json "$result" "$@"
}
