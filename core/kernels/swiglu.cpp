#include "core/kernels/swiglu.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/kernels/vector_loops.h"

namespace palimpsest {

namespace {

/// Calls function(j, elements) as for_each_vector does, in parallel where that is worth it.
template <class T, class Function>
void for_each_vector_of_all(std::int64_t count, Function function) {
#pragma omp parallel for schedule(static) if (count > 16384)
  for (std::int64_t begin = 0; begin < count; begin += swiglu_block) {
    vector_loops::for_each_vector<T>(std::min(swiglu_block, count - begin),
                                     [&](std::int64_t j, auto elements) { function(begin + j, elements); });
  }
}

/// Asks for what comes a few lines later, to be written if it is not constant: so many streams side by side are more
/// than hardware foresees in time. It need not be there.
template <class... T>
void prefetch_ahead(T*... at) {
  constexpr std::int64_t bytes = 2048;
  (__builtin_prefetch(at + bytes / static_cast<std::int64_t>(sizeof(T)), std::is_const_v<T> ? 0 : 1), ...);
}

}  // namespace

template <class T>
void swiglu_forward(const T* gate, const T* up, std::int64_t count, T* y) {
  for_each_vector_of_all<T>(count, [=](std::int64_t i, auto elements) {
    prefetch_ahead(gate + i, up + i, y + i);
    const auto g = elements.load(gate + i);
    elements.store(y + i, g * vector_loops::sigmoid<T>(g) * elements.load(up + i));
  });
}

template <class T>
void swiglu_backward(const T* gate, const T* up, const T* dy, std::int64_t count, T* dgate, T* dup) {
  for_each_vector_of_all<T>(count, [=](std::int64_t i, auto elements) {
    prefetch_ahead(gate + i, up + i, dy + i, dgate + i);
    const auto g = elements.load(gate + i), upstream = elements.load(dy + i);
    const auto s = vector_loops::sigmoid<T>(g);
    elements.store(dgate + i, upstream * elements.load(up + i) * s * (1 + g * (1 - s)));
    elements.store(dup + i, upstream * g * s);
  });
}

template void swiglu_forward(const float*, const float*, std::int64_t, float*);
template void swiglu_forward(const double*, const double*, std::int64_t, double*);
template void swiglu_forward(const bfloat16*, const bfloat16*, std::int64_t, bfloat16*);
template void swiglu_backward(const float*, const float*, const float*, std::int64_t, float*, float*);
template void swiglu_backward(const double*, const double*, const double*, std::int64_t, double*, double*);
template void swiglu_backward(const bfloat16*, const bfloat16*, const bfloat16*, std::int64_t, bfloat16*, bfloat16*);

}  // namespace palimpsest
