#include "launch/training/run_log.h"

#include <mutex>
#include <utility>

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include "launch/output/line_file.h"

namespace palimpsest {

namespace {

/// Log lines into a file that survives a full disk and its own removal.
class LineFileSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LineFileSink(const std::filesystem::path& path)
      : file_(path, [](const std::string& text) { spdlog::warn(text); }) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    file_.append(std::string(line.data(), line.size()));
  }
  void flush_() override {}

  LineFile file_;
};

}  // namespace

RunLog::RunLog(int descriptor, bool terminal)
    : console_(std::make_shared<Console>(descriptor, terminal)),
      logger_(std::make_shared<spdlog::logger>("run", spdlog::sink_ptr(console_))) {
  console_->set_pattern("%v");
  // On a terminal the progress line stands in for the lines that go to the file at this level.
  console_->set_level(terminal ? spdlog::level::info : spdlog::level::debug);
  logger_->set_level(spdlog::level::debug);
  logger_->flush_on(spdlog::level::debug);
}

void RunLog::add_file(const std::filesystem::path& path) {
  if (!logger_) return;
  auto file = std::make_shared<LineFileSink>(path);
  file->set_pattern("%Y-%m-%d %H:%M:%S  %v");
  logger_->sinks().push_back(std::move(file));
}

void RunLog::note(const std::string& text) {
  if (logger_) logger_->info("{}", text);
}

void RunLog::warn(const std::string& text) {
  if (logger_) logger_->warn("warning: {}", text);
}

void RunLog::progress(const std::string& text, bool lasting) {
  if (!logger_) return;
  if (lasting) logger_->debug("{}", text);
  console_->show_progress(text);
}

void RunLog::end_progress() {
  if (console_) console_->clear_progress();
}

}  // namespace palimpsest
