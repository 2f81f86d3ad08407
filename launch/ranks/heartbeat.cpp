#include "launch/ranks/heartbeat.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "launch/ranks/rank_status.h"

namespace palimpsest {

namespace fs = std::filesystem;

std::string Heartbeat::who() const { return fmt::format("rank {} on {} (process {})", rank, host, process); }
std::string Heartbeat::where() const { return fmt::format("step {}, {}", step, phase); }

fs::path heartbeat_path(const fs::path& directory, int rank) {
  return directory / fmt::format("rank-{:05}.json", rank);
}

void write_heartbeat(const fs::path& directory, const Heartbeat& heartbeat) {
  const nlohmann::ordered_json json = {{"rank", heartbeat.rank},       {"host", heartbeat.host},
                                       {"pid", heartbeat.process},     {"beat", heartbeat.beat},
                                       {"alive", heartbeat.alive},     {"progress", heartbeat.progress},
                                       {"step", heartbeat.step},       {"phase", heartbeat.phase},
                                       {"waiting", heartbeat.waiting}, {"ending", heartbeat.ending}};
  std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.resize(heartbeat_bytes - 1, ' ');
  text += '\n';
  const fs::path path = heartbeat_path(directory, heartbeat.rank);
  const auto fail = [&](const char* action, int reason) {
    throw WriteError(fmt::format("{}: cannot be {}: {}", path.string(), action, std::strerror(reason)));
  };
  // Opened and closed each time: network file systems show others what has been written when it is closed.
  int file = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0 && errno == ENOENT) {
    std::error_code error;
    fs::create_directories(directory, error);
    if (error) throw WriteError(fmt::format("{}: cannot be created: {}", directory.string(), error.message()));
    file = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  }
  if (file < 0) fail("opened", errno);
  const bool written = pwrite(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
  const int reason = errno;
  if (close(file) != 0 && written) fail("closed", errno);
  if (!written) fail("written", reason);
}

std::optional<Heartbeat> read_heartbeat(const fs::path& directory, int rank) {
  const int file = open(heartbeat_path(directory, rank).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  char text[heartbeat_bytes];
  const ssize_t bytes = pread(file, text, sizeof(text), 0);
  close(file);
  if (bytes != static_cast<ssize_t>(sizeof(text))) return std::nullopt;
  const auto json = nlohmann::json::parse(text, text + bytes, nullptr, /*allow_exceptions=*/false);
  try {
    return Heartbeat{json.at("rank").get<int>(),           json.at("host").get<std::string>(),
                     json.at("pid").get<std::int64_t>(),   json.at("beat").get<std::int64_t>(),
                     json.at("alive").get<std::int64_t>(), json.at("progress").get<std::int64_t>(),
                     json.at("step").get<std::int64_t>(),  json.at("phase").get<std::string>(),
                     json.at("waiting").get<bool>(),       json.at("ending").get<bool>()};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::string last_signs_of_life(const fs::path& directory) {
  constexpr std::size_t shown = 8;
  std::vector<Heartbeat> last;
  std::error_code error;
  for (int rank = 0; fs::exists(heartbeat_path(directory, rank), error); ++rank) {
    const auto heartbeat = read_heartbeat(directory, rank);
    if (heartbeat && heartbeat->phase != name_of(Phase::finished)) last.push_back(*heartbeat);
  }
  std::ranges::stable_sort(last, {}, [](const Heartbeat& heartbeat) {
    return std::tuple(heartbeat.waiting, heartbeat.step, heartbeat.progress);
  });
  std::string text;
  for (std::size_t i = 0; i < std::min(last.size(), shown); ++i) {
    text += fmt::format("{}{}: {}{}", i == 0 ? "" : "; ", last[i].who(), last[i].where(),
                        last[i].waiting ? ", waiting for others" : "");
  }
  return last.size() > shown ? fmt::format("{}; and {} more", text, last.size() - shown) : text;
}

}  // namespace palimpsest
