#include "core/io/atomic_directory.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "core/error.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const fs::path& path, std::string_view action, std::string_view reason) {
  throw WriteError(fmt::format("{}: cannot {}: {}", path.string(), action, reason));
}

[[noreturn]] void fail(const fs::path& path, std::string_view action) { fail(path, action, std::strerror(errno)); }

/// An open file that is closed on every way out.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags, std::string_view action) : path_(path) {
    id_ = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    if (id_ < 0) fail(path, action);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (id_ >= 0) ::close(id_);
  }

  void write(std::string_view content) {
    while (!content.empty()) {
      const ssize_t written = ::write(id_, content.data(), content.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail(path_, "write");
      content.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  void synchronize() {
    if (::fsync(id_) != 0) fail(path_, "force to disk");
  }
  /// Network file systems report a full disk only here.
  void close() {
    if (::close(std::exchange(id_, -1)) != 0) fail(path_, "close");
  }

 private:
  fs::path path_;
  int id_;
};

/// The directory that holds `path`.
fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail(path, "remove", error.message());
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

}  // namespace

void synchronize_to_disk(const fs::path& path) {
  Descriptor file(path, O_RDONLY, "open");
  file.synchronize();
  file.close();
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path temporary =
      parent_of(path) / fmt::format("{}{}-{}", temporary_prefix, path.filename().string(), getpid());
  try {
    Descriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC, "create");
    file.write(content);
    file.synchronize();
    file.close();
    std::error_code error;
    fs::rename(temporary, path, error);
    if (error) fail(path, "replace", error.message());
  } catch (const WriteError&) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
  synchronize_to_disk(parent_of(path));
}

fs::path AtomicDirectory::temporary_for(const fs::path& destination) {
  return parent_of(destination) / (std::string(temporary_prefix) + destination.filename().string());
}

AtomicDirectory::AtomicDirectory(fs::path destination, Existing existing)
    : destination_(std::move(destination)), temporary_(temporary_for(destination_)) {
  std::error_code error;
  if (existing == Existing::refuse && is_there(destination_)) fail(destination_, "create", "it exists already");
  remove_tree(temporary_);
  fs::create_directories(parent_of(destination_), error);
  if (error) fail(parent_of(destination_), "create", error.message());
  fs::create_directory(temporary_, error);
  if (error) fail(temporary_, "create", error.message());
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::commit() {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(temporary_, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file() || entry->is_directory()) synchronize_to_disk(entry->path());
  }
  if (error) fail(temporary_, "list", error.message());
  synchronize_to_disk(temporary_);
  const fs::path replaced = temporary_.string() + ".replaced";
  remove_tree(replaced);
  const bool replaces = is_there(destination_);
  if (replaces) fs::rename(destination_, replaced, error);
  if (!error) fs::rename(temporary_, destination_, error);
  if (error) {
    std::error_code ignored;
    if (replaces && !is_there(destination_)) fs::rename(replaced, destination_, ignored);
    fail(destination_, "create", error.message());
  }
  committed_ = true;
  synchronize_to_disk(parent_of(destination_));
  remove_tree(replaced);
}

}  // namespace palimpsest
