// Files and directories that appear whole or not at all: written under a temporary name beside
// their destination, forced to disk, then renamed.
#pragma once

#include <filesystem>
#include <string_view>
#include <system_error>

namespace palimpsest {

/// Replaces (or creates) a file by `content`. After a crash the old or the new content is there,
/// never a mixture. Throws WriteError, the old file then being intact.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// Forces a file's content, or a directory's list of names, to disk. Throws WriteError.
void synchronize_to_disk(const std::filesystem::path& path);

/// Renames like std::filesystem::rename. On a network file system an error may come although the name has changed (the
/// answer was lost, and the question asked again): what stands at `to` then decides.
std::error_code rename_into_place(const std::filesystem::path& from, const std::filesystem::path& to);

/// Marks the names of directories under construction.
inline constexpr std::string_view temporary_prefix = ".tmp-";

/// Behind the name of a directory that is just being replaced, on file systems without an exchange.
inline constexpr std::string_view replaced_suffix = ".replaced";

/// A directory under construction. Unless committed it is removed with all it holds when the object
/// goes.
class AtomicDirectory {
 public:
  /// What to do when the destination exists already. `commit` exchanges the two at once. Where the file system
  /// cannot, it is first renamed (`replaced_suffix`): a crash just then leaves both, neither under its own name.
  enum class Existing { refuse, replace };

  /// Creates the temporary directory beside `destination`, removing what an earlier attempt at the
  /// same destination left behind. Missing parents are created. Throws WriteError.
  explicit AtomicDirectory(std::filesystem::path destination, Existing existing = Existing::refuse);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  /// Where the files go until `commit`; the same for every process given the same destination.
  const std::filesystem::path& temporary() const { return temporary_; }
  static std::filesystem::path temporary_for(const std::filesystem::path& destination);

  /// Forces every file and the directory to disk, renames it to its destination and forces the
  /// parent to disk. Throws WriteError.
  void commit();

 private:
  std::filesystem::path destination_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

}  // namespace palimpsest
