// Where texts go that a command writes in any order: to standard output, each as soon as all before it are there, or to
// a file, which is written whole when all are there. Until then they stand beside it as they come, in
// FILE.partial.jsonl (the name's ending stays last), so that not even a killed process loses what was finished.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "core/io/descriptor.h"

namespace palimpsest {

class KeptResults {
 public:
  /// An empty path is standard output. Throws WriteError where no file could come there.
  explicit KeptResults(std::filesystem::path path);

  /// A text, with the end of its line, and its place among all of them; one of each place. Throws WriteError where
  /// standard output cannot be written.
  void add(std::size_t place, std::string text);
  /// To disk with what was added: behind what this object has in the partial file, which never is one that was there
  /// before, but FILE.partial-2.jsonl and so on. Throws WriteError.
  void keep();

  /// Once, when no more comes. All of them become the file, or what cannot be written to a file is printed. Partial
  /// files that have nothing which is not in this one, too, are removed. -> where the results are, if in a file.
  /// Throws WriteError.
  std::optional<std::filesystem::path> finish(bool complete);

 private:
  std::filesystem::path partial(int number) const;
  void remove_partial_files_within(const std::filesystem::path& results) const;
  bool holds_all_of(const std::filesystem::path& file) const;
  std::string joined() const;

  std::filesystem::path path_;
  std::map<std::size_t, std::string> texts_;  // by place; without those that are printed
  std::size_t next_ = 0;                      // of standard output
  std::string unkept_;                        // not yet in the partial file
  std::filesystem::path own_partial_;
  std::optional<Descriptor> file_;
};

}  // namespace palimpsest
