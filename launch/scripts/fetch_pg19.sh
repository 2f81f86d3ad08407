#!/usr/bin/env bash
# Fetches DeepMind's PG19 (28,752 books, 11.7 GB) into a folder that `palimpsest pack` reads: train/, validation/ and
# test/ with a text per book, and metadata.csv with titles and years. Run it again after an interruption: what is there
# stays, what is missing comes. Every file is checked against the size and MD5 that the server states; one that does
# not agree is fetched anew, three times at most.
#
#   launch/scripts/fetch_pg19.sh FOLDER                     all splits
#   launch/scripts/fetch_pg19.sh FOLDER validation test     these
#
# PG19_JOBS: how many files travel at a time (8). PG19_URL: another server with the same paths and listings.
set -euo pipefail

server=${PG19_URL:-https://storage.googleapis.com/deepmind-gutenberg}
attempts=3
export server attempts

fail() {
  printf 'fetch_pg19.sh: %s\n' "$*" >&2
  exit 1
}

# list_split SPLIT: the names in the bucket, "train/10.txt", a line each, page by page.
list_split() {
  local marker='' page last
  while :; do
    page=$(curl --fail --silent --show-error --location --retry 3 "$server?prefix=$1/&marker=$marker") || return 1
    last=$(grep -o '<Key>[^<]*</Key>' <<<"$page" | sed 's/<[^>]*>//g' | tee /dev/fd/3 | tail -n 1) || true
    grep -q '<IsTruncated>true' <<<"$page" || return 0
    [ -n "$last" ] || return 1  # a page that says there are more, and names none
    marker=$last
  done 3>&1
}

# check FILE HEADERS: whether it has the size and the hash that the server has stated; says what is wrong.
check() {
  local size hash found
  size=$(sed -n 's/^content-length: *\([0-9]*\).*/\1/Ip' "$2" | tail -n 1)
  hash=$(sed -n 's/^x-goog-hash:.*md5=\([A-Za-z0-9+\/=]*\).*/\1/Ip' "$2" | tail -n 1)
  found=$(stat -c %s "$1")
  if [ -n "$size" ] && [ "$found" != "$size" ]; then
    echo "has $found bytes, expected $size"
    return 1
  fi
  found=$(openssl dgst -md5 -binary "$1" | base64)
  if [ -n "$hash" ] && [ "$found" != "$hash" ]; then
    echo "has the MD5 $found, expected $hash"
    return 1
  fi
}

# fetch NAME: into the working folder, whole or not at all.
fetch() {
  local attempt part wrong=
  [ ! -e "$1" ] || return 0
  part=$(dirname "$1")/.part-$(basename "$1")
  for ((attempt = 0; attempt < attempts; ++attempt)); do
    if ! wrong=$(curl --fail --silent --show-error --location --retry 3 --dump-header "$part.headers" --output "$part" \
      "$server/$1" 2>&1); then
      continue
    fi
    if wrong=$(check "$part" "$part.headers"); then
      mv "$part" "$1"
      rm -f "$part.headers"
      return 0
    fi
  done
  rm -f "$part" "$part.headers"
  echo "fetch_pg19.sh: $server/$1: $wrong" >&2
  return 1
}
export -f check fetch

case "${1:-}" in
  '' | -*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
for tool in curl openssl; do
  command -v "$tool" >/dev/null || fail "needs $tool (apt-get install $tool)"
done
folder=$1
shift
[ $# -gt 0 ] || set -- train validation test
for split in "$@"; do
  [[ $split =~ ^(train|validation|test)$ ]] || fail "no split \"$split\"; there are train, validation and test"
done

mkdir -p "$folder"
cd "$folder"
fetch metadata.csv || fail "run it again to go on"
for split in "$@"; do
  mkdir -p "$split"
  rm -f "$split"/.part-*
  list_split "$split" | grep -E "^$split/[0-9]+\.txt\$" >".$split.list" || fail "$server: cannot list $split/"
  echo "$split: $(wc -l <".$split.list") books, $(find "$split" -name '*.txt' | wc -l) of them here" >&2
  # shellcheck disable=SC2016  # the shell that xargs starts expands it
  xargs -a ".$split.list" -P "${PG19_JOBS:-8}" -I '{}' bash -c 'fetch "$1"' fetch '{}' ||
    fail "$split: some books did not come; run it again to go on"
  rm ".$split.list"
done
echo "Complete. Next: palimpsest tokenizer train $folder pg19.model --vocab-size 32000" >&2
