#include "core/kernels/elementwise.h"

#include "core/data_type.h"

namespace palimpsest {

template <class T>
void add_forward(const T* a, const T* b, std::int64_t count, T* out) {
  using Sum = accumulate_t<T>;
#pragma omp parallel for simd schedule(static) if (count > 65536)
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(static_cast<Sum>(a[i]) + static_cast<Sum>(b[i]));
}

template void add_forward(const float*, const float*, std::int64_t, float*);
template void add_forward(const double*, const double*, std::int64_t, double*);
template void add_forward(const bfloat16*, const bfloat16*, std::int64_t, bfloat16*);

}  // namespace palimpsest
