#include "core/io/atomic_directory.h"

#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/io/descriptor.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const fs::path& path, std::string_view action, std::string_view reason) {
  throw WriteError(fmt::format("{}: cannot {}: {}", path.string(), action, reason));
}

/// The directory that holds `path`.
fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail(path, "remove", error.message());
}

/// Every directory that is new is also forced to disk in the one that holds it.
void create_with_parents(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return;
  const fs::path parent = parent_of(path);
  if (parent != path) create_with_parents(parent);
  fs::create_directory(path, error);
  if (error) fail(path, "create", error.message());
  synchronize_to_disk(parent);
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

/// Which file or directory stands at a path; nothing when none does. Opened, since a network file system looks again
/// then, and not only at what it remembers.
std::optional<std::pair<dev_t, ino_t>> identity_of(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  struct stat found {};
  const bool known = fstat(file, &found) == 0;
  close(file);
  if (!known) return std::nullopt;
  return std::pair(found.st_dev, found.st_ino);
}

}  // namespace

std::error_code rename_into_place(const fs::path& from, const fs::path& to) {
  const auto moved = identity_of(from);
  std::error_code error;
  fs::rename(from, to, error);
  if (error && moved && identity_of(to) == moved) error.clear();
  return error;
}

void synchronize_to_disk(const fs::path& path) {
  Descriptor file = Descriptor::for_writing(path, O_RDONLY);
  file.synchronize();
  file.close();
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path temporary =
      parent_of(path) / fmt::format("{}{}-{}", temporary_prefix, path.filename().string(), getpid());
  try {
    Descriptor file = Descriptor::for_writing(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    file.write(content);
    file.synchronize();
    file.close();
    if (const auto error = rename_into_place(temporary, path)) fail(path, "replace", error.message());
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
  create_with_parents(parent_of(destination_));
  remove_tree(temporary_);
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
  // An exchange leaves no moment without the one or the other.
  const auto written = identity_of(temporary_);
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, destination_.c_str(), RENAME_EXCHANGE) == 0 ||
      (written && identity_of(destination_) == written)) {
    committed_ = true;
    synchronize_to_disk(parent_of(destination_));
    remove_tree(temporary_);
    return;
  }
  // There was nothing to exchange, or this file system cannot.
  const fs::path replaced = destination_.string() + std::string(replaced_suffix);
  const bool replaces = is_there(destination_);
  if (replaces) {
    remove_tree(replaced);
    error = rename_into_place(destination_, replaced);
  }
  if (!error) error = rename_into_place(temporary_, destination_);
  if (error) {
    if (replaces && !is_there(destination_)) rename_into_place(replaced, destination_);
    fail(destination_, "create", error.message());
  }
  committed_ = true;
  synchronize_to_disk(parent_of(destination_));
  remove_tree(replaced);
}

}  // namespace palimpsest
