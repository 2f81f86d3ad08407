// What a run tells people: notes and warnings on the console and, with the time, in a log file; the
// pace of training on a line that renews itself.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <spdlog/logger.h>

#include "launch/output/console.h"

namespace palimpsest {

class RunLog {
 public:
  /// Says nothing: for all ranks but one.
  RunLog() = default;
  /// Writes to where `descriptor` leads, which is a terminal or is not.
  RunLog(int descriptor, bool terminal);

  /// From now on everything goes to this file as well. Throws WriteError.
  void add_file(const std::filesystem::path& path);

  void note(const std::string& text);
  void warn(const std::string& text);
  /// A line that matters only until the next: renewed in place on a terminal. Where `lasting`, it goes to
  /// the log file and, where there is no terminal, to the console.
  void progress(const std::string& text, bool lasting);
  /// Removes the progress line.
  void end_progress();

 private:
  std::shared_ptr<Console> console_;
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace palimpsest
