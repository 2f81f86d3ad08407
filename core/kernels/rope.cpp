#include "core/kernels/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "core/kernels/vector_loops.h"

namespace palimpsest {

double RotaryScaling::scaled(double frequency) const {
  if (kind == RotaryScalingKind::none) return frequency;
  if (kind == RotaryScalingKind::linear) return frequency / factor;
  // How often the wave turns within the original context: at least `high` times it is kept, at most `low` stretched.
  const double turns = static_cast<double>(original_length) * frequency / (2.0 * std::numbers::pi);
  const double kept =
      std::clamp((turns - low_frequency_factor) / (high_frequency_factor - low_frequency_factor), 0.0, 1.0);
  return (1.0 - kept) * frequency / factor + kept * frequency;
}

RotaryTable::RotaryTable(MemoryPool& pool, std::int64_t positions, std::int64_t head_size, double theta, DataType type,
                         const RotaryScaling& scaling) {
  if (head_size % 2 != 0) throw ShapeError(fmt::format("RoPE rotates halves: head size {} is odd", head_size));
  const std::int64_t half = head_size / 2;
  cosine_ = Tensor(pool, {positions, half}, type);
  sine_ = Tensor(pool, {positions, half}, type);
  dispatch(type, [&]<class A>() {
    for (std::int64_t position = 0; position < positions; ++position) {
      for (std::int64_t i = 0; i < half; ++i) {
        const double frequency =
            scaling.scaled(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_size)));
        const double angle = static_cast<double>(position) * frequency;
        cosine_.data<A>()[position * half + i] = static_cast<A>(std::cos(angle));
        sine_.data<A>()[position * half + i] = static_cast<A>(std::sin(angle));
      }
    }
  });
}

template <class T>
void rotate(const T* source, std::int64_t source_stride, T* destination, std::int64_t destination_stride,
            std::int64_t rows, std::int64_t first_position, const RotaryTable& table, bool inverse) {
  using A = accumulate_t<T>;
  if (first_position < 0 || first_position + rows > table.positions()) {
    throw ShapeError(fmt::format("RoPE: positions {} to {}, but the table holds {}", first_position,
                                 first_position + rows - 1, table.positions()));
  }
  const std::int64_t half = table.head_size() / 2;
  const A* const cosines = table.cosine().data<A>() + first_position * half;
  const A* const sines = table.sine().data<A>() + first_position * half;
  const A direction = inverse ? A{-1} : A{1};
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* const x = source + row * source_stride;
    T* const y = destination + row * destination_stride;
    const A* const cosine = cosines + row * half;
    const A* const sine = sines + row * half;
    vector_loops::prefetch_row(x + vector_loops::rows_ahead * source_stride, 2 * half);
    vector_loops::for_each_vector<T>(half, [&](std::int64_t i, auto elements) {
      const auto first = elements.load(x + i), second = elements.load(x + i + half);
      const auto c = elements.load(cosine + i), s = direction * elements.load(sine + i);
      elements.store(y + i, first * c - second * s);
      elements.store(y + i + half, second * c + first * s);
    });
  }
}

template void rotate(const float*, std::int64_t, float*, std::int64_t, std::int64_t, std::int64_t, const RotaryTable&,
                     bool);
template void rotate(const double*, std::int64_t, double*, std::int64_t, std::int64_t, std::int64_t, const RotaryTable&,
                     bool);
template void rotate(const bfloat16*, std::int64_t, bfloat16*, std::int64_t, std::int64_t, std::int64_t,
                     const RotaryTable&, bool);

}  // namespace palimpsest
