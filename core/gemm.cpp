// Which product goes where, and the only file that knows oneDNN. A primitive costs up to a millisecond to make and
// microseconds to run, so each thread keeps the ones it has used, keyed by everything that shapes their code.
#include "core/gemm.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <omp.h>
#include <sys/mman.h>

#include <dnnl.hpp>

#include "core/error.h"
#include "core/matrix_vector.h"
#include "core/products/blocked_product.h"
#include "core/products/matrix_units.h"
#include "core/products/unit_product.h"
#include "core/products/vectors.h"

namespace palimpsest {

namespace {

struct Key {
  std::array<std::int64_t, 10> values;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::size_t hash = 0;
    for (const auto value : key.values) {
      hash ^= std::hash<std::int64_t>{}(value) + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);
    }
    return hash;
  }
};

dnnl::engine& cpu_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::data_type dnnl_type(DataType type) {
  return type == DataType::bfloat16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

dnnl::memory::desc describe(const ConstMatrix& m) {
  return {dnnl::memory::dims{m.rows, m.columns}, dnnl_type(m.type), dnnl::memory::dims{m.row_stride, m.column_stride}};
}

/// Where the right operand of a large product is laid out anew; one per thread, as large as the largest.
void* packing_buffer(std::size_t bytes) {
  struct Free {
    void operator()(void* pointer) const { std::free(pointer); }
  };
  thread_local std::unique_ptr<void, Free> buffer;
  thread_local std::size_t size = 0;
  if (size < bytes) {
    constexpr std::size_t page = std::size_t{2} << 20;
    size = (bytes + page - 1) / page * page;
    buffer.reset();
    buffer.reset(std::aligned_alloc(page, size));
    if (!buffer) throw std::bad_alloc();
    madvise(buffer.get(), size, MADV_HUGEPAGE);
  }
  return buffer.get();
}

/// One primitive with the memory objects it is run on.
class Product {
 public:
  Product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output, bool packs) {
    dnnl::primitive_attr attributes;
    if (output == Output::accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    const dnnl::memory::desc plain_b = describe(b);
    const dnnl::memory::desc any_b(plain_b.dims(), plain_b.data_type(), dnnl::memory::format_tag::any);
    const dnnl::matmul::desc description(describe(a), packs ? any_b : plain_b, describe(c));
    const dnnl::matmul::primitive_desc primitive_description(description, attributes, cpu_engine());
    primitive_ = dnnl::matmul(primitive_description);
    a_ = dnnl::memory(primitive_description.src_desc(), cpu_engine(), nullptr);
    b_ = dnnl::memory(primitive_description.weights_desc(), cpu_engine(), nullptr);
    c_ = dnnl::memory(primitive_description.dst_desc(), cpu_engine(), nullptr);
    arguments_ = {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}};
    if (primitive_description.weights_desc() != plain_b) {
      plain_b_ = dnnl::memory(plain_b, cpu_engine(), nullptr);
      pack_ = dnnl::reorder(plain_b_, b_);
      packed_bytes_ = primitive_description.weights_desc().get_size();
    }
  }

  void run(dnnl::stream& stream, const void* a, const void* b, void* c) {
    a_.set_data_handle(const_cast<void*>(a));
    c_.set_data_handle(c);
    if (packed_bytes_ > 0) {
      plain_b_.set_data_handle(const_cast<void*>(b));
      b_.set_data_handle(packing_buffer(packed_bytes_));
      pack_.execute(stream, plain_b_, b_);
    } else {
      b_.set_data_handle(const_cast<void*>(b));
    }
    primitive_.execute(stream, arguments_);
  }

 private:
  dnnl::matmul primitive_;
  dnnl::reorder pack_;
  dnnl::memory a_, b_, c_, plain_b_;
  std::unordered_map<int, dnnl::memory> arguments_;
  std::size_t packed_bytes_ = 0;  // 0: b is used where it lies
};

/// From this many rows of the left operand on, laying out the right one as oneDNN likes it costs less
/// than it gains (docs/performance.md).
constexpr std::int64_t rows_worth_packing = 1024;

/// Ragged documents make many shapes; past this many the cache starts anew.
constexpr std::size_t most_primitives = 4096;

/// Without native instructions oneDNN has no bfloat16 product, or a slow one.
bool bfloat16_instructions() {
  static const bool present = [] {
    const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
    return isa == dnnl::cpu_isa::avx512_core_bf16 || isa == dnnl::cpu_isa::avx512_core_amx;
  }();
  return present;
}

/// What oneDNN calls what it uses.
std::string_view library_instructions() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41: return "sse41";
    case dnnl::cpu_isa::avx: return "avx";
    case dnnl::cpu_isa::avx2: return "avx2";
    case dnnl::cpu_isa::avx2_vnni: return "avx2_vnni";
    case dnnl::cpu_isa::avx512_core: return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni: return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16: return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_amx: return "avx512_core_amx";
    default: return "other";
  }
}

void run_dnnl(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  thread_local std::unordered_map<Key, Product, KeyHash> products;
  thread_local dnnl::stream stream(cpu_engine());
  // oneDNN splits a primitive's work by the thread count at its creation; inside a parallel region
  // only one of those threads would run, so such primitives are made for one thread.
  const int threads = omp_in_parallel() ? 1 : omp_get_max_threads();
  const std::int64_t mode = static_cast<std::int64_t>(a.type) * 4 + static_cast<std::int64_t>(c.type) * 2 +
                            (output == Output::accumulate ? 1 : 0);
  const Key key{{a.rows, a.columns, b.columns, a.row_stride, a.column_stride, b.row_stride, b.column_stride,
                 c.row_stride, mode, threads}};
  auto found = products.find(key);
  if (found == products.end()) {
    if (products.size() >= most_primitives) products.clear();
    const int previous = omp_get_max_threads();
    omp_set_num_threads(threads);
    found = products.emplace(key, Product(a, b, c, output, threads > 1 && a.rows >= rows_worth_packing)).first;
    omp_set_num_threads(previous);
  }
  found->second.run(stream, a.data, b.data, c.data);
}

/// A dense float32 copy of a matrix of bfloat16.
std::vector<float> widened(const ConstMatrix& m) {
  std::vector<float> copy(static_cast<std::size_t>(m.rows * m.columns));
  const auto* source = static_cast<const bfloat16*>(m.data);
#pragma omp parallel for schedule(static) if (!omp_in_parallel())
  for (std::int64_t i = 0; i < m.rows; ++i) {
    for (std::int64_t j = 0; j < m.columns; ++j) {
      copy[static_cast<std::size_t>(i * m.columns + j)] = source[i * m.row_stride + j * m.column_stride];
    }
  }
  return copy;
}

void run_widened(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  const std::vector<float> left = widened(a), right = widened(b);
  const ConstMatrix wide_a = matrix(left.data(), a.rows, a.columns, a.columns);
  const ConstMatrix wide_b = matrix(right.data(), b.rows, b.columns, b.columns);
  if (c.type == DataType::float32) return run_dnnl(wide_a, wide_b, c, output);
  std::vector<float> sum(static_cast<std::size_t>(c.rows * c.columns));
  if (output == Output::accumulate) sum = widened(c);
  run_dnnl(wide_a, wide_b, matrix(sum.data(), c.rows, c.columns, c.columns), output);
  auto* target = static_cast<bfloat16*>(c.data);
  for (std::int64_t i = 0; i < c.rows; ++i) {
    for (std::int64_t j = 0; j < c.columns; ++j) {
      target[i * c.row_stride + j] = sum[static_cast<std::size_t>(i * c.columns + j)];
    }
  }
}

void run_float64(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  const auto* left = static_cast<const double*>(a.data);
  const auto* right = static_cast<const double*>(b.data);
  auto* out = static_cast<double*>(c.data);
#pragma omp parallel for schedule(static) if (!omp_in_parallel() && a.rows * b.columns * a.columns > 32768)
  for (std::int64_t i = 0; i < c.rows; ++i) {
    double* const row = out + i * c.row_stride;
    if (output == Output::overwrite) std::fill(row, row + c.columns, 0.0);
    for (std::int64_t k = 0; k < a.columns; ++k) {
      const double factor = left[i * a.row_stride + k * a.column_stride];
      const double* const b_row = right + k * b.row_stride;
      for (std::int64_t j = 0; j < c.columns; ++j) row[j] += factor * b_row[j * b.column_stride];
    }
  }
}

void zero_rows(const Matrix& c) {
  for (std::int64_t i = 0; i < c.rows; ++i) {
    std::memset(static_cast<std::byte*>(c.data) + static_cast<std::size_t>(i * c.row_stride) * size_of(c.type), 0,
                static_cast<std::size_t>(c.columns) * size_of(c.type));
  }
}

/// One row times a matrix stored transposed, as a linear layer of one token is.
bool is_row_times_transposed(const ConstMatrix& a, const ConstMatrix& b) {
  return a.rows == 1 && a.column_stride == 1 && b.row_stride == 1;
}

void run_row_times_transposed(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  const auto run = [&]<class T, class Y>() {
    row_times_transposed(static_cast<const T*>(a.data), static_cast<const T*>(b.data), b.column_stride, b.rows,
                         b.columns, static_cast<Y*>(c.data), output == Output::accumulate);
  };
  if (a.type == DataType::float32) {
    run.operator()<float, float>();
  } else if (c.type == DataType::bfloat16) {
    run.operator()<bfloat16, bfloat16>();
  } else {
    run.operator()<bfloat16, float>();
  }
}

/// Products of our own, by matrix units or by vectors, or oneDNN's where neither takes this one well.
bool run_own(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  const bool matrix_units = matmul_uses_matrix_units();
  const int threads = omp_in_parallel() ? 1 : omp_get_max_threads();
  if (matrix_units && products::units_suit(a, b, threads)) {
    products::unit_product(a, b, c, output, threads);
  } else if (products::has_instructions(a.type) && !(a.type == DataType::bfloat16 && matrix_units) &&
             products::suits(a, b, threads)) {
    products::blocked_product(a, b, c, output, threads);
  } else {
    return false;
  }
  return true;
}

void check(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c) {
  const bool types =
      a.type == b.type && (c.type == a.type || (a.type == DataType::bfloat16 && c.type == DataType::float32));
  if (a.columns != b.rows || c.rows != a.rows || c.columns != b.columns || !types) {
    throw ShapeError(fmt::format("matmul: {} ({} x {}) times {} ({} x {}) into {} ({} x {})", name_of(a.type), a.rows,
                                 a.columns, name_of(b.type), b.rows, b.columns, name_of(c.type), c.rows, c.columns));
  }
}

}  // namespace

ConstMatrix matrix_of(const Tensor& tensor) {
  const std::int64_t columns = tensor.shape()[-1];
  return {tensor.raw().data(), tensor.data_type(), tensor.shape().rows(), columns, columns, 1};
}

Matrix matrix_of(Tensor& tensor) {
  const std::int64_t columns = tensor.shape()[-1];
  return {tensor.raw().data(), tensor.data_type(), tensor.shape().rows(), columns, columns};
}

void matmul(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  check(a, b, c);
  if (c.rows == 0 || c.columns == 0) return;
  if (a.columns == 0) {  // oneDNN dies on empty extents
    if (output == Output::overwrite) zero_rows(c);
    return;
  }
  if (a.type == DataType::float64) {
    run_float64(a, b, c, output);
  } else if (is_row_times_transposed(a, b)) {
    run_row_times_transposed(a, b, c, output);
  } else if (a.type == DataType::bfloat16 && !bfloat16_instructions()) {
    run_widened(a, b, c, output);
  } else if (!run_own(a, b, c, output)) {
    run_dnnl(a, b, c, output);
  }
}

bool matmul_uses_matrix_units() {
  // oneDNN can be told to leave matrix units alone, and so are we.
  static const bool allowed =
      dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx && products::has_matrix_units();
  return allowed;
}

bool has_native_bfloat16() {
  if (!bfloat16_instructions()) return false;
  // A product of small integers is exact in both types.
  constexpr std::int64_t n = 64;
  std::vector<bfloat16> a(n * n), b(n * n);
  for (std::int64_t i = 0; i < n * n; ++i) {
    a[static_cast<std::size_t>(i)] = static_cast<float>(i * 7 % 13 - 6);
    b[static_cast<std::size_t>(i)] = static_cast<float>(i * 5 % 11 - 5);
  }
  const ConstMatrix left = matrix(std::as_const(a).data(), n, n, n);
  const ConstMatrix right = matrix(std::as_const(b).data(), n, n, n).transposed();
  std::vector<float> exact(n * n), library(n * n);
  run_widened(left, right, matrix(exact.data(), n, n, n), Output::overwrite);
  run_dnnl(left, right, matrix(library.data(), n, n, n), Output::overwrite);
  std::vector<float> own = library;
  run_own(left, right, matrix(own.data(), n, n, n), Output::overwrite);
  return library == exact && own == exact;
}

std::string instruction_set() { return fmt::format("{} (built for {})", library_instructions(), products::built_for); }

}  // namespace palimpsest
