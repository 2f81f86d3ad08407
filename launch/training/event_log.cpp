#include "launch/training/event_log.h"

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <immintrin.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include "event.pb.h"

namespace palimpsest {

namespace {

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <typename Integer>
std::string little_endian(Integer value) {
  static_assert(std::endian::native == std::endian::little);
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::uint32_t masked_crc32c(const std::string& bytes) {
  return palimpsest::masked_crc32c(std::as_bytes(std::span(bytes)));
}

/// Every number below `json` under its path of keys.
void add_numbers(const nlohmann::ordered_json& json, const std::string& prefix, events::Summary& summary) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      add_numbers(value, prefix + key + "/", summary);
    } else if (value.is_number() && key != "step") {
      events::Summary::Value& entry = *summary.add_value();
      entry.set_tag(prefix + key);
      entry.set_simple_value(value.get<float>());
    }
  }
}

}  // namespace

std::uint32_t masked_crc32c(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const std::byte byte : bytes) crc = _mm_crc32_u8(crc, std::to_integer<unsigned char>(byte));
  return std::rotr(~crc, 15) + 0xa282ead8;
}

EventLog::EventLog(const std::filesystem::path& folder, std::int64_t last_step, Warn warn) : warn_(std::move(warn)) {
  const double now = seconds_since_1970();
  // TensorBoard reads the files of a folder in the order of their names; the prefix is what it looks for.
  path_ = folder / fmt::format("events.out.tfevents.{:.6f}.{}", now, ::getpid());
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  file_.open(path_, std::ios::binary);
  events::Event version;
  version.set_wall_time(now);
  version.set_file_version("brain.Event:2");
  write(version.SerializeAsString());
  events::Event start;
  start.set_wall_time(now);
  start.set_step(last_step + 1);
  start.mutable_session_log()->set_status(events::SessionLog::START);
  write(start.SerializeAsString());
}

void EventLog::append(const nlohmann::ordered_json& line) {
  events::Event event;
  event.set_wall_time(seconds_since_1970());
  event.set_step(line.at("step").get<std::int64_t>());
  const std::string prefix = line.contains("split") ? line.at("split").get<std::string>() + "/" : "train/";
  add_numbers(line, prefix, *event.mutable_summary());
  write(event.SerializeAsString());
}

void EventLog::write(const std::string& event) {
  if (given_up_) return;
  const std::string length = little_endian(static_cast<std::uint64_t>(event.size()));
  if (file_) errno = 0;  // else it says why the file could not be opened
  file_ << length << little_endian(masked_crc32c(length)) << event << little_endian(masked_crc32c(event)) << std::flush;
  if (!file_) {
    given_up_ = true;
    warn_(fmt::format(
        "{}: cannot be written: {}; TensorBoard will see nothing more of this run, metrics.jsonl has it all",
        path_.string(), std::strerror(errno)));
  }
}

}  // namespace palimpsest
