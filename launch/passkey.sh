#!/usr/bin/env bash
# Hides a key in a million tokens and asks a small model for it, which comes with the program: installs what is missing,
# builds, makes a run of the weights in launch/models/passkey, and reads the text with a progress line.
#
#   launch/passkey.sh                  a random key of four digits
#   launch/passkey.sh 9054             this one
#   launch/passkey.sh 9054 128k 0      in another length (32k, 1m, 10m, ...), at another depth: 0 the start, 1 the end
#   launch/passkey.sh --book FILE [KEY [LENGTH [DEPTH]]]
#                                      in a book of yours, plain text in English, which is read once from cover to cover
case "${1:-}" in
  --book) [ "$#" -ge 2 ] || { echo "launch/passkey.sh: --book needs the file of a book" >&2; exit 2; } ;;
  -*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
book=
if [ "${1:-}" = --book ]; then
  [ -r "$2" ] || { echo "launch/passkey.sh: cannot read the book $2" >&2; exit 3; }
  book=$(realpath "$2")
  shift 2
fi
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

printf -v random '%04d' $((SRANDOM % 10000))
key=${1:-$random} depth=${3:-0.5}
[[ $key =~ ^[0-9]{4}$ ]] || fail "\"$key\" is no key that this model has learned: expected four digits"
palimpsest=build/release/palimpsest
model=passkey${book:+-books}
run=runs/$model-shipped

install_missing build
build release palimpsest
[ -e "$run/checkpoints" ] || "$palimpsest" import "launch/models/$model" "$run"
export OMP_NUM_THREADS=$cores
if [ -n "$book" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  cp "$book" "$folder/book.txt"
  "$palimpsest" pack "$folder" "$folder/book.h5" --tokenizer "launch/models/$model/tokenizer.model" > "$folder/log" 2>&1 ||
    { cat "$folder/log" >&2; fail "$book cannot be read as a book"; }
  say "Hiding the key $key in $book"
  set -- --filler "$folder/book.h5" ${2:+--lengths "$2"}
else
  say "Hiding the key $key in a text of ${2:-1m} tokens"
  set -- --lengths "${2:-1m}"
fi
"$palimpsest" passkey "$run" --hide "$key" "$@" --depths "$depth" --seed "$SRANDOM"
