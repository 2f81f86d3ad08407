# shellcheck shell=bash
# What quickstart.sh and test.sh share: messages with the elapsed time, packages, the build and mpirun's
# environment. To be sourced; leaves the shell in the repository's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cores=$(nproc)

say() { printf '[%3d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# packages_of GROUP...: the names listed under these groups.
packages_of() {
  local group
  for group in "$@"; do awk -v group="$group" '$1 == group { print $2 }' launch/packages.txt; done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env "$@"
  elif command -v sudo >/dev/null; then
    sudo env "$@"
  else
    fail "packages are missing and there is no sudo; as root, run: apt-get install $(packages_of build test | xargs)"
  fi
}

# update_package_lists_for NAME...: runs apt-get update if apt has no candidate for one of the packages.
update_package_lists_for() {
  local name
  for name in "$@"; do
    if [ -z "$(apt-cache madison "$name" 2>/dev/null)" ]; then
      say "Updating apt's package lists"
      as_root apt-get update -qq
      return
    fi
  done
}

# install_missing GROUP...: installs those packages of the groups that are not installed.
install_missing() {
  local name missing=()
  command -v apt-get >/dev/null || fail "no apt-get: this script is for Debian 12; launch/packages.txt lists what to install"
  for name in $(packages_of "$@"); do
    dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
  done
  if [ ${#missing[@]} = 0 ]; then
    say "Packages: all installed"
    return
  fi
  update_package_lists_for "${missing[@]}"
  say "Installing with apt: ${missing[*]}"
  as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# build PRESET TARGET [CMAKE OPTION]...: configures and builds one target under build/PRESET.
build() {
  local preset=$1 target=$2
  shift 2
  say "Building $target (preset $preset, in build/$preset, $cores at a time)"
  local log=build/configure-$preset.log
  mkdir -p build
  cmake --preset "$preset" "$@" >"$log" 2>&1 || { cat "$log"; fail "cmake --preset $preset failed"; }
  cmake --build --preset "$preset" --target "$target" --parallel "$cores"
}

# is_measured RUN RESULT [FILE]...: whether the result is there, of the run's newest checkpoint and not older than these files.
is_measured() {
  local run=$1 result=$2 source
  shift 2
  [ -e "$result" ] || return 1
  for source in "$run"/checkpoints/step-* "$@"; do
    [ ! "$source" -nt "$result" ] || return 1
  done
}

# Open MPI: no binding (it would put every thread of a rank on one core), more ranks than cores allowed,
# root allowed (containers), and shared memory without the system call that containers forbid.
use_mpi() {
  export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_rmaps_base_oversubscribe=1
  export OMPI_MCA_btl_vader_single_copy_mechanism=none
  if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}
