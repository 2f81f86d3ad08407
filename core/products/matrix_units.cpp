#include "core/products/matrix_units.h"

#include <algorithm>

#ifdef __AMX_BF16__
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace palimpsest::products {

#ifndef __AMX_BF16__

bool has_matrix_units() { return false; }

#else

namespace {

constexpr int tile_rows = 16, tile_bytes = 64;  // of a row
constexpr long sums_row_bytes = unit_columns * sizeof(float);
constexpr std::int64_t panel_bytes = unit_columns * 2 * static_cast<std::int64_t>(sizeof(bfloat16));

// The registers: 0 to 3 sums, 4 and 5 rows of the left operand, 6 and 7 columns of the right one. Intrinsics take
// register numbers as literals only.

void load_left(const bfloat16* rows, std::int64_t stride) {
  const auto bytes = static_cast<long>(stride) * static_cast<long>(sizeof(bfloat16));
  _tile_loadd(4, rows, bytes);
  _tile_loadd(5, rows + tile_rows * stride, bytes);
}

void load_right(const bfloat16* units) {
  _tile_loadd(6, units, panel_bytes);
  _tile_loadd(7, units + panel_bytes / 4, panel_bytes);
}

void multiply_add() {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

/// Brings what load_right is given some time later into the first cache.
void prefetch(const bfloat16* units) {
  const char* const bytes = reinterpret_cast<const char*>(units);
#pragma GCC unroll 32
  for (int line = 0; line < tile_rows * panel_bytes / 64; ++line) _mm_prefetch(bytes + line * 64, _MM_HINT_T0);
}

}  // namespace

bool has_matrix_units() {
  static const bool allowed = [] {
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  }();
  return allowed;
}

TileRegisters::TileRegisters() {
  // Static, since the intrinsic does not tell the compiler how much of it is read.
  struct alignas(64) Configuration {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
  };
  static constexpr Configuration configuration = [] {
    Configuration eight;
    std::fill_n(eight.row_bytes, 8, static_cast<std::uint16_t>(tile_bytes));
    std::fill_n(eight.rows, 8, static_cast<std::uint8_t>(tile_rows));
    return eight;
  }();
  _tile_loadconfig(&configuration);
}

TileRegisters::~TileRegisters() { _tile_release(); }

// Not inlined and behind a barrier: the intrinsics do not tell the compiler which memory they read.
template <class T>
[[gnu::noinline]] void multiply_units(const bfloat16* left, std::int64_t left_stride, const bfloat16* right,
                                      std::int64_t steps, float* sums, bool accumulate) {
  constexpr std::int64_t panel = unit_inner * unit_columns, left_step = pieces<T> * unit_inner;
  constexpr std::int64_t right_step = pieces<T> * panel;
  asm volatile("" ::: "memory");
  if (accumulate) {
    _tile_loadd(0, sums, sums_row_bytes);
    _tile_loadd(1, sums + tile_rows, sums_row_bytes);
    _tile_loadd(2, sums + tile_rows * unit_columns, sums_row_bytes);
    _tile_loadd(3, sums + tile_rows * unit_columns + tile_rows, sums_row_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  if constexpr (pieces<T> == 3) {
    for (std::int64_t step = 0; step < steps; ++step) {
      const bfloat16 *const l = left + step * left_step, *const r = right + step * right_step;
      load_left(l, left_stride);
      load_right(r + 2 * panel);
      multiply_add();
      prefetch(r + right_step);
      load_right(r + panel);
      multiply_add();
      prefetch(r + right_step + panel);
      load_left(l + unit_inner, left_stride);
      multiply_add();
      prefetch(r + right_step + 2 * panel);
      load_right(r);
      multiply_add();
      load_left(l + 2 * unit_inner, left_stride);
      multiply_add();
    }
  }
  for (std::int64_t step = 0; step < steps; ++step) {
    load_left(left + step * left_step, left_stride);
    load_right(right + step * right_step);
    if (pieces<T> == 1) prefetch(right + (step + 1) * right_step);
    multiply_add();
  }
  _tile_stored(0, sums, sums_row_bytes);
  _tile_stored(1, sums + tile_rows, sums_row_bytes);
  _tile_stored(2, sums + tile_rows * unit_columns, sums_row_bytes);
  _tile_stored(3, sums + tile_rows * unit_columns + tile_rows, sums_row_bytes);
}

template void multiply_units<bfloat16>(const bfloat16*, std::int64_t, const bfloat16*, std::int64_t, float*, bool);
template void multiply_units<float>(const bfloat16*, std::int64_t, const bfloat16*, std::int64_t, float*, bool);

#endif

}  // namespace palimpsest::products
