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

# The same with a memory that keeps what followed what.
# shellcheck disable=SC2034
associative="$best model.attention.memory_features=identity model.attention.memory_query=key model.attention.memory_shift=true"

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

# require_base RUN TOKENIZER: stops unless this is the run directory of a model that keeps its state constant, and its tokenizer.
require_base() {
  [ -e "$1/config.yaml" ] || fail "$1: no run directory; launch/experiments/books.sh makes one"
  [ "$2" = bytes ] || [ -e "$2" ] || fail "$2 is not there; TOKENIZER names that of $1"
  ! has_kind "$1" full ||
    fail "$1: of attention kind full, whose state grows with a book; expected a kind that carries its memory on"
}

# tokenizer_of BASE: an imported model has it in its run directory, the rows of books.sh share one beside theirs.
tokenizer_of() {
  if [ -e "$1/tokenizer.model" ]; then echo "$1/tokenizer.model"; else echo "$(dirname "$1")/pieces/pieces.model"; fi
}

# has_kind RUN KIND: whether its attention is of this kind.
has_kind() { grep -q "^    kind: $2\$" "$1/config.yaml"; }

# segment_of RUN: the tokens of a segment.
segment_of() {
  local segment
  segment=$(sed -n 's/^  segment_length: *\([0-9]*\).*/\1/p' "$1/config.yaml")
  [ -n "$segment" ] || fail "$1/config.yaml: no model.segment_length"
  echo "$segment"
}

# require_source STAMP PATH WHAT [CONTENT]: stops if the stamp, a file that note_source wrote, says that its folder was made of another
# file or folder, or while the content was another.
require_source() {
  [ -s "$1" ] || return 0
  local made_of
  mapfile -t made_of <"$1"
  [ "${made_of[0]}" = "$(realpath "$2")" ] ||
    fail "$(dirname "$1") holds the $3 of ${made_of[0]}; RUNS=FOLDER puts those of $2 elsewhere"
  [ "${made_of[1]-${4:-}}" = "${4:-}" ] ||
    fail "$(dirname "$1") holds the $3 of $2, which has changed since; RUNS=FOLDER begins anew elsewhere"
}

# note_source STAMP PATH [CONTENT]
note_source() { printf '%s\n' "$(realpath "$2")" "${@:3}" >"$1"; }

# content_of FILE|FOLDER...: a sum that changes with the files, or with names and lengths of the texts in the folders.
content_of() {
  local source
  for source in "$@"; do
    if [ -d "$source" ]; then (cd "$source" && find -L . -name '*.txt' -printf '%p %s\n' | LC_ALL=C sort); else cat "$source"; fi
  done | sha256sum
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
  note_source "$pieces/corpus" "$1"
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

# make_index RUN CORPUS INDEX: what the run's newest checkpoint remembers of every document of the corpus; what an older one has made
# goes.
make_index() {
  if [ -e "$3" ] && ! is_measured "$1" "$3/index.json"; then rm -rf "$3"; fi
  mpirun -n "$ranks" "$palimpsest" index "$1" "$2" "$3" --prune
}

# search RUN INDEX QUERIES NAME OPTION...: writes what is found for queries under this name, unless that has been done with the
# settings of now.
search() {
  local run=$1 index=$2 queries=$3 result=$1/evaluation/$4
  shift 4
  is_measured "$run" "$result.jsonl" "$run/evaluation/settings" ||
    "$palimpsest" search "$run" "$index" --queries "$queries" --run "$result.run" --json "$result.jsonl" "$@"
}
