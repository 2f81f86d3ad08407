#include "launch/training/event_log.h"

#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <immintrin.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

namespace palimpsest {

namespace {

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <typename Number>
std::string little_endian(Number value) {
  static_assert(std::endian::native == std::endian::little);
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::uint32_t masked_crc32c(const std::string& bytes) {
  return palimpsest::masked_crc32c(std::as_bytes(std::span(bytes)));
}

/// A message in the wire format of protocol buffers (protobuf.dev/programming-guides/encoding). The library itself
/// would meet the older one that libsentencepiece carries within it, and end the program.
class Message {
 public:
  void add(int field, double value) { append(field, 1, little_endian(value)); }
  void add(int field, float value) { append(field, 5, little_endian(value)); }
  void add(int field, std::int64_t value) { append(field, 0, varint(static_cast<std::uint64_t>(value))); }
  void add(int field, const std::string& value) { append(field, 2, varint(value.size()) + value); }
  void add(int field, const Message& value) { add(field, value.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  static std::string varint(std::uint64_t value) {
    std::string bytes;
    for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
    return bytes + static_cast<char>(value);
  }
  void append(int field, int wire_type, const std::string& value) {
    bytes_ += varint(static_cast<std::uint64_t>(field << 3 | wire_type)) + value;
  }

  std::string bytes_;
};

// Fields of tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.
namespace event_field {
constexpr int wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7;
}
namespace summary_field {
constexpr int value = 1, tag = 1, simple_value = 2;
}
namespace session_log_field {
constexpr int status = 1;
constexpr std::int64_t start = 1;
}  // namespace session_log_field

/// An event of this moment.
Message event_of(std::int64_t step) {
  Message event;
  event.add(event_field::wall_time, seconds_since_1970());
  event.add(event_field::step, step);
  return event;
}

/// Every number below `json` under its path of keys.
void add_numbers(const nlohmann::ordered_json& json, const std::string& prefix, Message& summary) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      add_numbers(value, prefix + key + "/", summary);
    } else if (value.is_number() && key != "step") {
      const auto number = value.get<float>();
      if (!std::isfinite(number)) continue;  // `null` in metrics.jsonl
      Message entry;
      entry.add(summary_field::tag, prefix + key);
      entry.add(summary_field::simple_value, number);
      summary.add(summary_field::value, entry);
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
  // TensorBoard reads the files of a folder in the order of their names; the prefix is what it looks for.
  path_ = folder / fmt::format("events.out.tfevents.{:.6f}.{}", seconds_since_1970(), ::getpid());
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  file_.open(path_, std::ios::binary);
  Message version = event_of(0);
  version.add(event_field::file_version, std::string("brain.Event:2"));
  write(version.bytes());
  Message status;
  status.add(session_log_field::status, session_log_field::start);
  Message start = event_of(last_step + 1);
  start.add(event_field::session_log, status);
  write(start.bytes());
}

void EventLog::append(const nlohmann::ordered_json& line) {
  Message event = event_of(line.at("step").get<std::int64_t>()), summary;
  add_numbers(line, line.contains("split") ? line.at("split").get<std::string>() + "/" : "train/", summary);
  event.add(event_field::summary, summary);
  write(event.bytes());
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
