#include "launch/report/following.h"

#include <algorithm>
#include <fstream>

#include <fmt/format.h>

#include "launch/ranks/heartbeat.h"
#include "launch/ranks/rank_status.h"
#include "launch/training/metrics.h"
#include "launch/training/run_directory.h"

namespace palimpsest {

namespace {

std::string fingerprint_of(const std::filesystem::path& file) {
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);
  if (error) return "";
  const auto time = std::filesystem::last_write_time(file, error).time_since_epoch().count();
  return fmt::format("{} {} {}\n", file.string(), size, time);
}

bool has_line(const std::filesystem::path& file) {
  std::ifstream lines(file, std::ios::binary);
  std::string line;
  return std::getline(lines, line) && !lines.eof();
}

}  // namespace

std::string fingerprint(const std::vector<std::filesystem::path>& runs) {
  std::string all;
  for (const std::filesystem::path& run : runs) {
    const RunDirectory directory(run);
    for (const auto& file : {directory.config(), directory.metrics(), gates_beside(directory.metrics())}) {
      all += fingerprint_of(file);
    }
    std::error_code error;
    std::vector<std::string> results;
    for (const auto& entry : std::filesystem::directory_iterator(directory.evaluation(), error)) {
      results.push_back(fingerprint_of(entry.path()));
    }
    std::ranges::sort(results);
    for (const std::string& result : results) all += result;
  }
  return all;
}

bool has_steps(const std::vector<std::filesystem::path>& runs) {
  return std::ranges::all_of(runs, [](const std::filesystem::path& run) {
    const RunDirectory directory(run);
    std::error_code error;
    return has_line(directory.metrics()) || std::filesystem::is_directory(directory.evaluation(), error);
  });
}

bool all_over(const std::vector<std::filesystem::path>& runs) {
  return std::ranges::all_of(runs, [](const std::filesystem::path& run) {
    const auto heartbeat = read_heartbeat(RunDirectory(run).heartbeats(), 0);
    return !heartbeat || heartbeat->phase == name_of(Phase::finished);
  });
}

}  // namespace palimpsest
