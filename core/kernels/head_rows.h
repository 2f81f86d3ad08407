// Attention heads side by side in the rows of an activation matrix: (rows, heads, head_size).
#pragma once

#include <cassert>
#include <cstdint>

namespace palimpsest {

/// Element i of head h in row r stands at data[r * stride() + h * head_size + i].
template <class T>
struct HeadRows {
  T* data = nullptr;
  std::int64_t heads = 0;
  std::int64_t head_size = 0;

  explicit operator bool() const { return data != nullptr; }
  std::int64_t stride() const { return heads * head_size; }
  T* at(std::int64_t row, std::int64_t head) const {
    assert(data != nullptr && row >= 0 && head >= 0 && head < heads);
    return data + row * stride() + head * head_size;
  }
};

}  // namespace palimpsest
