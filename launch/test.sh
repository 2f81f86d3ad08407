#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test through ctest.
#
#   launch/test.sh                    all of them
#   launch/test.sh -L unit            one label: unit, mpi or end-to-end
#   launch/test.sh -R Tensor          the tests whose name contains Tensor; any other ctest option works too
#
# With CI=true, launch/scripts/lint.sh comes first, warnings are errors, the unit tests run a second time under
# AddressSanitizer and UndefinedBehaviorSanitizer, on a machine with AVX-512 those of the arithmetic once more as one
# without it computes, and every fuzz target runs for some seconds.
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

# run_tests PRESET [CTEST OPTION]...
run_tests() {
  local preset=$1
  shift
  say "Running the tests of build/$preset"
  ctest --preset "$preset" --no-tests=error --parallel "$cores" "$@"
}

install_missing build test
use_mpi
# Tests run side by side, so threads that wait must not burn the cores of others.
export OMP_WAIT_POLICY=passive
# HDF5 leaks where it fails, and programs that tests start fail on purpose.
export LSAN_OPTIONS=suppressions=$PWD/tests/leaks.txt:print_suppressions=0

# Debian's Python, which sees Debian's h5py, even where another comes first on the path.
python=/usr/bin/python3
warnings_are_errors=OFF
[ "${CI:-}" = true ] && warnings_are_errors=ON

[ "${CI:-}" != true ] || launch/scripts/lint.sh
build release all -DPALIMPSEST_WERROR=$warnings_are_errors -DPython3_EXECUTABLE=$python
run_tests release "$@"

if [ "${CI:-}" = true ]; then
  build sanitize unit_tests -DPALIMPSEST_WHOLE_TESTS=ON -DPython3_EXECUTABLE=$python
  run_tests sanitize -L unit
  if grep -qw avx512f /proc/cpuinfo; then
    build portable arithmetic_tests -DPALIMPSEST_WERROR=ON -DPALIMPSEST_WHOLE_TESTS=ON -DPython3_EXECUTABLE=$python
    run_tests portable -R '^(core|autograd|layers|optim)_test[.]'  # the programs of arithmetic_tests
  else
    say "No AVX-512 here: build/release has computed much as build/portable does"
  fi
  build fuzz all
  run_tests fuzz
fi
say "All tests passed"
