// Between libFuzzer and a target. `TARGET --write-seeds=FOLDER` writes the target's seeds, which have to be valid, and
// ends.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/error.h"
#include "tests/fuzz/target.h"

namespace {

/// Whether the target takes it.
bool is_valid(const std::string& input) {
  try {
    palimpsest::fuzz::run(input);
    return true;
  } catch (const palimpsest::Error& error) {
    std::fprintf(stderr, "refused: %s\n", error.what());
    return false;
  }
}

void write_seeds(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  int number = 0, valid = 0;
  for (const std::string& seed : palimpsest::fuzz::seeds()) {
    valid += is_valid(seed);
    std::ofstream file(folder / ("seed-" + std::to_string(number++)), std::ios::binary);
    file << seed;
    if (!file.flush()) std::abort();
  }
  std::printf("%d seeds in %s, %d of them valid\n", number, folder.c_str(), valid);
  if (valid == 0) std::exit(1);  // mutants of what is refused at once would show nothing
}

}  // namespace

/// AddressSanitizer keeps what is freed, 256 MiB of it by default, and each input that a child process tries out first
/// (core/io/child_process.h) would pay for that. HDF5 leaks what it allocated before it noticed an error, and
/// libFuzzer's own -detect_leaks=0 leaves the check at the end.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=16:detect_leaks=0"; }

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  constexpr std::string_view option = "--write-seeds=";
  for (int i = 1; i < *count; ++i) {
    const std::string_view argument = (*arguments)[i];
    if (!argument.starts_with(option)) continue;
    write_seeds(argument.substr(option.size()));
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    palimpsest::fuzz::run({reinterpret_cast<const char*>(data), size});
  } catch (const palimpsest::Error&) {
  }
  return 0;
}
