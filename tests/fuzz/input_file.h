// A fuzzer's input as a file, for readers that want one.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <unistd.h>

namespace palimpsest::fuzz {

/// One at a time. A real file: HDF5 resolves links before it opens them, so none in memory without a name would do.
class InputFile {
 public:
  /// Its name ends in `ending`, where readers go by that.
  explicit InputFile(std::string_view content, const std::string& ending = {})
      : path_(std::filesystem::temp_directory_path() / ("palimpsest-fuzz-" + std::to_string(getpid()) + ending)) {
    std::ofstream file(path_, std::ios::binary);
    if (!file.write(content.data(), static_cast<std::streamsize>(content.size())).flush()) std::abort();
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile() { std::filesystem::remove(path_); }

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace palimpsest::fuzz
