// What a user sees while something long is running: a line that renews itself on a terminal, plain
// lines elsewhere.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

#include <spdlog/sinks/base_sink.h>

namespace palimpsest {

/// Whether a descriptor of this process ends at a terminal. mpirun gives its ranks a pseudo-terminal
/// wherever its own output goes, so under it mpirun's descriptor is asked.
bool on_terminal(int descriptor);

/// The place where log lines and the progress line meet: a log line erases the progress line first. When
/// nobody reads what is written (mpirun stops reading while it ends a job, for many seconds), text is
/// dropped after a moment: a run must reach its checkpoint all the same.
class Console final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  /// Writes to where `descriptor` leads, which is a terminal or is not.
  Console(int descriptor, bool terminal);
  ~Console() override;

  bool is_terminal() const { return terminal_; }
  /// Renews the progress line, on a terminal; does nothing elsewhere.
  void show_progress(const std::string& text);
  void clear_progress();

 private:
  static constexpr int patience_milliseconds = 500;

  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override {}
  void erase();
  void write(std::string_view text);

  int descriptor_;
  bool terminal_;
  bool shown_ = false;
  bool stuck_ = false;  // nobody read the last text
};

}  // namespace palimpsest
