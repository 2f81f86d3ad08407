// What the numbers of stored memories are.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace palimpsest {

/// int8: each row, a tensor's elements of one last axis, has a scale (launch/search/quantized_rows.h).
enum class MemoryType { float32, bfloat16, int8 };

inline constexpr std::array<std::string_view, 3> memory_type_names = {"float32", "bfloat16", "int8"};

inline std::string name_of(MemoryType type) { return std::string(memory_type_names[static_cast<std::size_t>(type)]); }

inline std::optional<MemoryType> memory_type_of(std::string_view name) {
  for (std::size_t i = 0; i < memory_type_names.size(); ++i) {
    if (memory_type_names[i] == name) return static_cast<MemoryType>(i);
  }
  return std::nullopt;
}

}  // namespace palimpsest
