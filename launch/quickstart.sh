#!/usr/bin/env bash
# From a fresh Debian 12 machine to a trained model, in a few minutes on two cores: installs what is
# missing, builds, prepares Jane Austen's novels, trains a tokenizer and a small model, this on two MPI ranks and
# interrupted once on purpose, measures it with its memory and without, and lets it write.
#
#   launch/quickstart.sh                    everything goes to runs/quickstart
#   launch/quickstart.sh RUN_DIRECTORY      or somewhere else
#
# A second run reuses what is there: delete the run directory to train again.
case "${1:-}" in
  -*) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
  "") run=runs/quickstart ;;
  *) run=$(realpath -m "$1") ;;
esac
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

config=configs/quickstart.yaml
corpus=runs/austen
tokenizer=$corpus/pieces.model
tokens=$corpus/pieces
palimpsest=build/release/palimpsest
prompt="It is a truth universally acknowledged, that a young lady"

# fetch_novels: the six novels as text, out of Debian's package, which is unpacked and not installed.
fetch_novels() {
  local package download
  package=$(packages_of corpus)
  update_package_lists_for "$package"
  download=$(mktemp -d)
  (cd "$download" && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg-deb -x ./*.deb .)
  launch/scripts/austen.py "$corpus/text" --library "$download/usr/lib/R/site-library"
  rm -r "$download"
}

# setting KEY: its value in the configuration.
setting() { awk -v key="$1:" '$1 == key { print $2 }' "$config"; }

train() {
  mpirun -n "$ranks" "$palimpsest" train "$config" --set "train.run_directory=$run" "$@"
}

install_missing build
use_mpi
ranks=$((cores < 2 ? 1 : 2))
export OMP_NUM_THREADS=$((cores / ranks < 8 ? cores / ranks : 8))

build release palimpsest

if [ -e "$corpus/text/metadata.csv" ]; then
  say "Corpus: $corpus/text is there already"
else
  say "Preparing the corpus: Jane Austen's six novels, in PG19's layout, in $corpus/text"
  fetch_novels
fi
if [ -e "$tokens/train.h5" ] && [ -e "$tokens/validation.h5" ] && [ -e "$tokens/test.h5" ]; then
  say "Token files: $tokens/*.h5 are there already"
else
  pieces=$(setting vocab_size)
  say "Training a SentencePiece tokenizer of $pieces pieces on the training split, and packing the novels with it"
  "$palimpsest" tokenizer train "$corpus/text" "$tokenizer" --vocab-size "$pieces" --force
  "$palimpsest" pack "$corpus/text" "$tokens" --tokenizer "$tokenizer" --force
fi

steps=$(setting steps)
if compgen -G "$run/checkpoints/step-*" >/dev/null; then
  say "Training: going on from the newest checkpoint in $run"
else
  say "Training $config on $ranks ranks with $OMP_NUM_THREADS threads each, to be stopped half way, after step $((steps / 2))"
  train --stop-after $((steps / 2))
  say "Training: the same command again, which resumes from the checkpoint"
fi
train

# One book cannot be shared over ranks: one process, all cores.
export OMP_NUM_THREADS=$cores
say "Evaluating the test split, Northanger Abbey, with the memory carried through the whole book"
result=$run/evaluation/quickstart.json
"$palimpsest" eval "$run" --split test --json "$result"
say "And once more with the memory knocked out: what that costs is what the memory contributes"
without=$run/evaluation/quickstart-memory-none.json
"$palimpsest" eval "$run" --split test --memory none --json "$without"
launch/scripts/byte_baselines.py "$corpus/text" --model "$result" --model "$without"

say "Writing on from a prompt"
"$palimpsest" generate "$run" --prompt "$prompt" --max-tokens 200 --temperature 0.8 --top-p 0.95

say "Done"
cat <<END

  program        $palimpsest
  corpus         $corpus/text (PG19 layout), packed in $tokens/*.h5
  tokenizer      $tokenizer
  configuration  $config; as resolved: $run/config.yaml
  checkpoints    $run/checkpoints
  metrics        $run/metrics.jsonl, a JSON object a line
  evaluation     $result, and $without

Try:
  $palimpsest generate $run --prompt "Emma"
  $palimpsest inspect $run
  $palimpsest --help
END
