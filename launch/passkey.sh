#!/usr/bin/env bash
# Hides a key in a million tokens and asks a small model for it, which comes with the program: installs what is missing,
# builds, makes a run of the weights in launch/models/passkey, and reads the text with a progress line.
#
#   launch/passkey.sh                  a random key of four digits
#   launch/passkey.sh 9054             this one
#   launch/passkey.sh 9054 128k 0      in another length (32k, 1m, 10m, ...), at another depth: 0 the start, 1 the end
case "${1:-}" in -*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

printf -v random '%04d' $((SRANDOM % 10000))
key=${1:-$random} length=${2:-1m} depth=${3:-0.5}
[[ $key =~ ^[0-9]{4}$ ]] || fail "\"$key\" is no key that this model has learned: expected four digits"
palimpsest=build/release/palimpsest
run=runs/passkey-shipped

install_missing build
build release palimpsest
[ -e "$run/checkpoints" ] || "$palimpsest" import launch/models/passkey "$run"
export OMP_NUM_THREADS=$cores
say "Hiding the key $key in a text of $length tokens"
"$palimpsest" passkey "$run" --hide "$key" --lengths "$length" --depths "$depth" --seed "$SRANDOM"
