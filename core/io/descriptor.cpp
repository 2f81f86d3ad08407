#include "core/io/descriptor.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"

namespace palimpsest {

namespace {

template <class Failure>
[[noreturn]] void fail(const std::filesystem::path& path, std::string_view action) {
  throw Failure(fmt::format("{}: cannot {}: {}", path.string(), action, std::strerror(errno)));
}

}  // namespace

Descriptor Descriptor::for_reading(const std::filesystem::path& path) {
  const int id = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (id < 0) fail<FileError>(path, "open");
  return {path, id};
}

Descriptor Descriptor::for_writing(const std::filesystem::path& path, int flags) {
  const int id = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (id < 0) fail<WriteError>(path, (flags & O_CREAT) != 0 ? "create" : "open");
  return {path, id};
}

Descriptor::Descriptor(Descriptor&& other) noexcept
    : path_(std::move(other.path_)), id_(std::exchange(other.id_, -1)) {}

Descriptor::~Descriptor() {
  if (id_ >= 0) ::close(id_);
}

std::uint64_t Descriptor::size() const {
  struct stat status;
  if (::fstat(id_, &status) != 0) fail<FileError>(path_, "measure");
  return static_cast<std::uint64_t>(status.st_size);
}

void Descriptor::read(std::uint64_t offset, std::span<std::byte> target) const {
  while (!target.empty()) {
    const ssize_t count = ::pread(id_, target.data(), target.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail<FileError>(path_, fmt::format("read beyond byte {}", offset));
    if (count == 0) throw FileError(fmt::format("{}: ends at byte {}, expected more", path_.string(), offset));
    offset += static_cast<std::uint64_t>(count);
    target = target.subspan(static_cast<std::size_t>(count));
  }
}

void Descriptor::start_reading(std::uint64_t offset, std::uint64_t bytes) const {
  // Only speed depends on it; failures to read come back from `read`.
  ::posix_fadvise(id_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
}

void Descriptor::write(std::string_view content) {
  while (!content.empty()) {
    const ssize_t count = ::write(id_, content.data(), content.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail<WriteError>(path_, "write");
    content.remove_prefix(static_cast<std::size_t>(count));
  }
}

void Descriptor::write(std::uint64_t offset, std::span<const std::byte> content) {
  while (!content.empty()) {
    const ssize_t count = ::pwrite(id_, content.data(), content.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail<WriteError>(path_, fmt::format("write at byte {}", offset));
    offset += static_cast<std::uint64_t>(count);
    content = content.subspan(static_cast<std::size_t>(count));
  }
}

void Descriptor::start_writing_back(std::uint64_t offset, std::uint64_t bytes) {
  // Only speed depends on it; failures to write come back from `synchronize`.
  ::sync_file_range(id_, static_cast<off_t>(offset), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
}

void Descriptor::synchronize() {
  if (::fsync(id_) != 0) fail<WriteError>(path_, "force to disk");
}

void Descriptor::close() {
  if (::close(std::exchange(id_, -1)) != 0) fail<WriteError>(path_, "close");
}

}  // namespace palimpsest
