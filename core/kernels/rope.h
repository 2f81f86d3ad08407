// Rotary position embedding (Su et al. 2021), halves rotated as Hugging Face's Llama does:
//   y[i]         = x[i] cos - x[i + d/2] sin
//   y[i + d/2]   = x[i + d/2] cos + x[i] sin,   angle = position * theta^(-2 i / d), i < d/2
// where a RotaryScaling may change the frequency theta^(-2 i / d).
#pragma once

#include <cstdint>

#include "core/kernels/rotary_scaling.h"
#include "core/tensor.h"

namespace palimpsest {

/// Cosines and sines of every angle up to a number of positions, computed in double.
class RotaryTable {
 public:
  /// `type` is the accumulate type of the rows to be rotated. Throws ShapeError on an odd head size.
  RotaryTable(MemoryPool& pool, std::int64_t positions, std::int64_t head_size, double theta, DataType type,
              const RotaryScaling& scaling = {});

  std::int64_t positions() const { return cosine_.shape()[0]; }
  std::int64_t head_size() const { return 2 * cosine_.shape()[1]; }
  /// (positions, head_size / 2)
  const Tensor& cosine() const { return cosine_; }
  const Tensor& sine() const { return sine_; }

 private:
  Tensor cosine_, sine_;
};

/// Rotates `rows` rows of head_size elements, strides apart, at consecutive positions from
/// `first_position`; `inverse` turns back, which is the backward pass. Source and destination are the
/// same rows or do not overlap. Runs on the calling thread. Throws ShapeError when positions exceed
/// the table.
template <class T>
void rotate(const T* source, std::int64_t source_stride, T* destination, std::int64_t destination_stride,
            std::int64_t rows, std::int64_t first_position, const RotaryTable& table, bool inverse);

}  // namespace palimpsest
