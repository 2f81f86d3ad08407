#include "core/kernels/elementwise.h"

#include "core/data_type.h"
#include "core/kernels/vector_math.h"

namespace palimpsest {

template <class T>
void add_forward(const T* a, const T* b, std::int64_t count, T* out) {
  using Sum = accumulate_t<T>;
#pragma omp parallel for simd schedule(static) if (count > 65536)
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(static_cast<Sum>(a[i]) + static_cast<Sum>(b[i]));
}

template <class T>
void sigmoid_forward(const T* x, std::int64_t count, T* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(sigmoid(static_cast<accumulate_t<T>>(x[i])));
}

template <class T>
void sigmoid_backward(const T* out, const T* d_out, std::int64_t count, T* dx) {
  using A = accumulate_t<T>;
  for (std::int64_t i = 0; i < count; ++i) {
    const A y = static_cast<A>(out[i]);
    dx[i] = static_cast<T>(static_cast<A>(d_out[i]) * y * (A(1) - y));
  }
}

template void sigmoid_forward(const float*, std::int64_t, float*);
template void sigmoid_forward(const double*, std::int64_t, double*);
template void sigmoid_forward(const bfloat16*, std::int64_t, bfloat16*);
template void sigmoid_backward(const float*, const float*, std::int64_t, float*);
template void sigmoid_backward(const double*, const double*, std::int64_t, double*);
template void sigmoid_backward(const bfloat16*, const bfloat16*, std::int64_t, bfloat16*);
template void add_forward(const float*, const float*, std::int64_t, float*);
template void add_forward(const double*, const double*, std::int64_t, double*);
template void add_forward(const bfloat16*, const bfloat16*, std::int64_t, bfloat16*);

}  // namespace palimpsest
