// What a safetensors file says about itself: the name, type, shape and place of every tensor. The file is 8 bytes of
// header length (little-endian), a JSON object of that many bytes, and the tensors' elements one after the other:
//   {"__metadata__": {"key": "text"}, "NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
// Offsets count from the end of the header. https://github.com/huggingface/safetensors describes the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/shape.h"

namespace palimpsest {

struct SafetensorsEntry {
  std::string name;
  std::string type;                    // as the file spells it: "F32", "BF16", "I64" ...
  Shape shape;                         // row-major
  std::uint64_t begin = 0, bytes = 0;  // its data, counted from the end of the header

  bool operator==(const SafetensorsEntry&) const = default;
};

struct SafetensorsHeader {
  /// Longer ones are neither written nor read.
  static constexpr std::size_t max_bytes = 100'000'000;

  std::vector<SafetensorsEntry> entries;  // in the order of their data
  std::map<std::string, std::string> metadata;

  /// Bytes of all tensors together.
  std::uint64_t data_bytes() const { return entries.empty() ? 0 : entries.back().begin + entries.back().bytes; }
  /// The JSON, padded with spaces so that the data after it begin at a multiple of 8 bytes.
  std::string to_text() const;
};

/// Reads the JSON of a file whose tensors take `data_bytes` bytes; `name` (a path) starts every message. Throws
/// FileError, naming the tensor, on anything but the format: no object, a key that is unknown, missing or there twice,
/// an unknown type, a shape of another size than its data, tensors that overlap, leave holes, or end elsewhere than the
/// file does.
SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_bytes, const std::string& name);

}  // namespace palimpsest
