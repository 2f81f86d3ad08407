// RMSNorm by rows. T: float, double, bfloat16; sums, weight and statistics in accumulate_t<T>.
//   y = x r w,  r = 1 / sqrt(mean(x^2) + epsilon)
//   dx = r (g - x r^2 mean(g x)),  g = dy w;   dw = sum over rows of dy x r
#pragma once

#include <cstdint>
#include <vector>

#include "core/data_type.h"
#include "core/gradient.h"

namespace palimpsest {

template <class T>
struct RmsNormInputs {
  const T* x = nullptr;                     // (rows, columns)
  const accumulate_t<T>* weight = nullptr;  // (columns)
  std::int64_t rows = 0, columns = 0;
};

template <class T>
struct RmsNormResult {
  T* y = nullptr;                          // (rows, columns)
  accumulate_t<T>* inverse_rms = nullptr;  // (rows): the r of each row, for backward
};

template <class T>
struct RmsNormGradients {
  const accumulate_t<T>* inverse_rms = nullptr;  // forward's
  const T* dy = nullptr;
  Gradient<T*> dx{};
  Gradient<accumulate_t<T>*> dweight{};
  accumulate_t<T>* scratch = nullptr;  // (rms_norm_blocks(rows), columns), if dweight is wanted
};

template <class T>
void rms_norm_forward(const RmsNormInputs<T>& in, double epsilon, const RmsNormResult<T>& result);

/// Rows are summed for dweight in blocks of fixed size, so that the result does not depend on the thread count.
std::int64_t rms_norm_blocks(std::int64_t rows);

template <class T>
void rms_norm_backward(const RmsNormInputs<T>& in, const RmsNormGradients<T>& gradients);

/// Elements that each of `threads` threads reads in it, x and dy as one, all gradients being wanted.
std::vector<double> rms_norm_backward_shares(std::int64_t rows, std::int64_t columns, int threads);

}  // namespace palimpsest
