#include "core/kernels/swiglu.h"

#include "core/data_type.h"
#include "core/kernels/vector_math.h"

namespace palimpsest {

template <class T>
void swiglu_forward(const T* gate, const T* up, std::int64_t count, T* y) {
  using A = accumulate_t<T>;
#pragma omp parallel for simd schedule(static) if (count > 16384)
  for (std::int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(silu(static_cast<A>(gate[i])) * static_cast<A>(up[i]));
}

template <class T>
void swiglu_backward(const T* gate, const T* up, const T* dy, std::int64_t count, T* dgate, T* dup) {
  using A = accumulate_t<T>;
#pragma omp parallel for simd schedule(static) if (count > 16384)
  for (std::int64_t i = 0; i < count; ++i) {
    const A g = static_cast<A>(gate[i]), s = sigmoid(g), upstream = static_cast<A>(dy[i]);
    dgate[i] = static_cast<T>(upstream * static_cast<A>(up[i]) * s * (A{1} + g * (A{1} - s)));
    dup[i] = static_cast<T>(upstream * g * s);
  }
}

template void swiglu_forward(const float*, const float*, std::int64_t, float*);
template void swiglu_forward(const double*, const double*, std::int64_t, double*);
template void swiglu_forward(const bfloat16*, const bfloat16*, std::int64_t, bfloat16*);
template void swiglu_backward(const float*, const float*, const float*, std::int64_t, float*, float*);
template void swiglu_backward(const double*, const double*, const double*, std::int64_t, double*, double*);
template void swiglu_backward(const bfloat16*, const bfloat16*, const bfloat16*, std::int64_t, bfloat16*, bfloat16*);

}  // namespace palimpsest
