#include "data/text/byte_input.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "core/error.h"
#include "data/text/compressed_input.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

class FileInput final : public ByteInput {
 public:
  FileInput(const fs::path& path, std::uint64_t begin) : path_(path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) fail(error.message());
    if (!fs::is_regular_file(status)) throw FileError(fmt::format("{}: is not a regular file", path.string()));
    errno = 0;
    stream_.open(path, std::ios::binary);
    if (stream_ && begin > 0) stream_.seekg(static_cast<std::streamoff>(begin));
    if (!stream_) fail(std::strerror(errno));
  }

  std::size_t read(std::span<char> target) override {
    if (!stream_ || target.empty()) return 0;
    errno = 0;
    stream_.read(target.data(), static_cast<std::streamsize>(target.size()));
    if (stream_.bad()) fail(std::strerror(errno));
    consumed_ += static_cast<std::uint64_t>(stream_.gcount());
    return static_cast<std::size_t>(stream_.gcount());
  }
  std::uint64_t consumed() const override { return consumed_; }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw FileError(fmt::format("{}: cannot be read: {}", path_.string(), why));
  }

  fs::path path_;
  std::ifstream stream_;
  std::uint64_t consumed_ = 0;
};

}  // namespace

std::unique_ptr<ByteInput> open_input(const fs::path& path, std::uint64_t begin) {
  const Compression compression = compression_of(path);
  if (compression == Compression::none) return std::make_unique<FileInput>(path, begin);
  return decompress(std::make_unique<FileInput>(path, 0), compression, path);
}

}  // namespace palimpsest
