#include "launch/run_log.h"

#include <spdlog/sinks/basic_file_sink.h>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

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
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    file->set_pattern("%Y-%m-%d %H:%M:%S  %v");
    logger_->sinks().push_back(std::move(file));
  } catch (const spdlog::spdlog_ex& error) {
    throw WriteError(fmt::format("{}: {}", path.string(), error.what()));
  }
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
