// A file to which a run adds whole lines, and which outlives what happens to the disk: a line that cannot be
// written is kept and tried again with the next, and never half of one stays in the file.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <string>

namespace palimpsest {

class LineFile {
 public:
  /// Told, once each, that lines cannot be written for now and why, that they have been, and that the file has been
  /// taken away and begun again.
  using Warn = std::function<void(const std::string&)>;

  /// Opens or creates the file and cuts a last line without end off. Throws WriteError.
  LineFile(std::filesystem::path path, Warn warn);
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  /// Adds a line, newline included, after those still kept. Does not throw; each line is handed to the system before
  /// the next, so that it survives the end of this process.
  void append(std::string line);
  /// Tries to write what is kept. Returns how many lines are still kept after that.
  std::size_t flush();
  /// Why lines are kept; empty when there are none.
  const std::string& problem() const { return problem_; }
  /// Forces what was written to disk, as far as that is possible.
  void synchronize();

 private:
  /// Beyond that the oldest lines are given up.
  static constexpr std::size_t max_kept = 100'000;

  /// Whether the open file is still the one that the path leads to.
  bool is_in_place() const;
  bool reopen();
  bool write(const std::string& line);
  bool failed(const char* action);
  void shut();

  std::filesystem::path path_;
  Warn warn_;
  int descriptor_ = -1;
  std::deque<std::string> kept_;
  std::string problem_;
};

}  // namespace palimpsest
