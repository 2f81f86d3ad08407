// The numbers of metrics.jsonl once more as event files, for TensorBoard (`train.tensorboard`).
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace palimpsest {

/// CRC-32C (Castagnoli) of the bytes, rotated and offset as TFRecord files have it: ((c >> 15) | (c << 17)) +
/// 0xa282ead8.
std::uint32_t masked_crc32c(std::span<const std::byte> bytes);

/// One event file: TFRecords (length, its checksum, content, its checksum) of protocol buffers.
class EventLog {
 public:
  /// Told once when events cannot be written; there are none from then on, and metrics.jsonl still has everything.
  using Warn = std::function<void(const std::string&)>;

  /// Creates a file of its own in `folder`, which it makes: each start of a run has one, and says from which step
  /// on it counts, so that TensorBoard forgets what an interrupted run had done beyond its checkpoint. Does not throw.
  EventLog(const std::filesystem::path& folder, std::int64_t last_step, Warn warn);

  /// Adds the numbers of a line of metrics.jsonl, under their keys; those of an evaluation under the split's name,
  /// those of a source of a mixture under `sources/NAME`. Does not throw.
  void append(const nlohmann::ordered_json& line);

 private:
  void write(const std::string& event);

  std::filesystem::path path_;
  std::ofstream file_;
  bool given_up_ = false;
  Warn warn_;
};

}  // namespace palimpsest
