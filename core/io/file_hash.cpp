#include "core/io/file_hash.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <vector>

#include <fmt/format.h>
#include <xxhash.h>

#include "core/error.h"

namespace palimpsest {

struct FileHash::State {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> hash{XXH3_createState()};
};

FileHash::FileHash() : state_(std::make_unique<State>()) {
  if (state_->hash == nullptr || XXH3_128bits_reset(state_->hash.get()) != XXH_OK) throw std::bad_alloc();
}
FileHash::~FileHash() = default;
FileHash::FileHash(FileHash&&) noexcept = default;
FileHash& FileHash::operator=(FileHash&&) noexcept = default;

void FileHash::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->hash.get(), bytes.data(), bytes.size());
}

std::string FileHash::digest() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->hash.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

FileFingerprint fingerprint_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw FileError(fmt::format("{}: {}", path.string(),
                                std::filesystem::exists(path, error) ? "not a regular file" : "no such file"));
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (file == nullptr) throw FileError(fmt::format("{}: cannot open: {}", path.string(), std::strerror(errno)));
  FileHash hash;
  FileFingerprint result;
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    hash.update(std::span(buffer).first(count));
    result.bytes += count;
  }
  if (std::ferror(file.get()) != 0) {
    throw FileError(
        fmt::format("{}: cannot read beyond byte {}: {}", path.string(), result.bytes, std::strerror(errno)));
  }
  result.hash = hash.digest();
  return result;
}

std::string hash_file(const std::filesystem::path& path) { return fingerprint_file(path).hash; }

}  // namespace palimpsest
