// The only file that knows oneDNN. A primitive costs up to a millisecond to make and microseconds to
// run, so each thread keeps the ones it has used, keyed by everything that shapes their code.
#include "core/gemm.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>

#include <fmt/format.h>
#include <omp.h>
#include <dnnl.hpp>

#include "core/error.h"

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

/// One primitive with the memory objects it is run on.
class Product {
 public:
  Product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
    dnnl::primitive_attr attributes;
    if (output == Output::accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    const dnnl::matmul::desc description(describe(a), describe(b), describe(c));
    const dnnl::matmul::primitive_desc primitive_description(description, attributes, cpu_engine());
    primitive_ = dnnl::matmul(primitive_description);
    a_ = dnnl::memory(primitive_description.src_desc(), cpu_engine(), nullptr);
    b_ = dnnl::memory(primitive_description.weights_desc(), cpu_engine(), nullptr);
    c_ = dnnl::memory(primitive_description.dst_desc(), cpu_engine(), nullptr);
    arguments_ = {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}};
  }

  void run(dnnl::stream& stream, const void* a, const void* b, void* c) {
    a_.set_data_handle(const_cast<void*>(a));
    b_.set_data_handle(const_cast<void*>(b));
    c_.set_data_handle(c);
    primitive_.execute(stream, arguments_);
  }

 private:
  dnnl::matmul primitive_;
  dnnl::memory a_, b_, c_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

/// Ragged documents make many shapes; past this many the cache starts anew.
constexpr std::size_t most_primitives = 4096;

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
    found = products.emplace(key, Product(a, b, c, output)).first;
    omp_set_num_threads(previous);
  }
  found->second.run(stream, a.data, b.data, c.data);
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
  } else {
    run_dnnl(a, b, c, output);
  }
}

}  // namespace palimpsest
