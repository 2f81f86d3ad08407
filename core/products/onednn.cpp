// The only file that knows oneDNN. A primitive costs up to a millisecond to make and microseconds to run, so each
// thread keeps the ones it has used, keyed by everything that shapes their code.
#include "core/products/onednn.h"

#include <array>
#include <cstddef>
#include <functional>
#include <new>
#include <unordered_map>

#include <omp.h>

#include <dnnl.hpp>

#include "core/parallel.h"
#include "core/round_up.h"

namespace palimpsest::products {

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
  Product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output, bool packs) {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
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
    scratchpad_ = dnnl::memory(primitive_description.scratchpad_desc(), cpu_engine(), nullptr);
    scratchpad_bytes_ = round_up(primitive_description.scratchpad_desc().get_size(), std::size_t{64});
    arguments_ = {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}};
    if (scratchpad_bytes_ > 0) arguments_.emplace(DNNL_ARG_SCRATCHPAD, scratchpad_);
    if (primitive_description.weights_desc() != plain_b) {
      plain_b_ = dnnl::memory(plain_b, cpu_engine(), nullptr);
      pack_ = dnnl::reorder(plain_b_, b_);
      packed_bytes_ = primitive_description.weights_desc().get_size();
    }
  }

  /// Of scratch memory, behind each other: the scratchpad and the packed right operand.
  std::size_t bytes() const { return scratchpad_bytes_ + packed_bytes_; }

  void run(dnnl::stream& stream, const void* a, const void* b, void* c, std::byte* scratch) {
    a_.set_data_handle(const_cast<void*>(a));
    c_.set_data_handle(c);
    if (scratchpad_bytes_ > 0) scratchpad_.set_data_handle(scratch);
    if (packed_bytes_ > 0) {
      plain_b_.set_data_handle(const_cast<void*>(b));
      b_.set_data_handle(scratch + scratchpad_bytes_);
      pack_.execute(stream, plain_b_, b_);
    } else {
      b_.set_data_handle(const_cast<void*>(b));
    }
    primitive_.execute(stream, arguments_);
  }

 private:
  dnnl::matmul primitive_;
  dnnl::reorder pack_;
  dnnl::memory a_, b_, c_, plain_b_, scratchpad_;
  std::unordered_map<int, dnnl::memory> arguments_;
  std::size_t scratchpad_bytes_ = 0;
  std::size_t packed_bytes_ = 0;  // 0: b is used where it lies
};

/// From this many rows of the left operand on, laying out the right one as oneDNN likes it costs less
/// than it gains (docs/measurements/2026-11-24-speed.md).
constexpr std::int64_t rows_worth_packing = 1024;

/// Ragged documents make many shapes; past this many the cache starts anew.
constexpr std::size_t most_primitives = 4096;

/// The calling thread's primitive for such a product. oneDNN splits a primitive's work by the thread count at its
/// creation; inside a parallel region only one of those threads would run, so such primitives are made for one thread.
Product& product_for(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output, int threads) {
  thread_local std::unordered_map<Key, Product, KeyHash> products;
  const std::int64_t mode = static_cast<std::int64_t>(a.type) * 4 + static_cast<std::int64_t>(c.type) * 2 +
                            (output == Output::accumulate ? 1 : 0);
  const Key key{{a.rows, a.columns, b.columns, a.row_stride, a.column_stride, b.row_stride, b.column_stride,
                 c.row_stride, mode, threads}};
  const auto found = products.find(key);
  if (found != products.end()) return found->second;
  if (products.size() >= most_primitives) products.clear();
  const ThreadCount scope(threads);
  return products.emplace(key, Product(a, b, c, output, threads > 1 && a.rows >= rows_worth_packing)).first->second;
}

/// Calls function(); what oneDNN says of missing memory becomes what everybody else says.
template <class Function>
auto with_memory_errors(Function function) {
  try {
    return function();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
    throw;
  }
}

}  // namespace

void onednn_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                    int threads) {
  thread_local dnnl::stream stream(cpu_engine());
  with_memory_errors([&] {
    Product& product = product_for(a, b, c, output, threads);
    if (product.bytes() == 0) return product.run(stream, a.data, b.data, c.data, nullptr);
    const MemoryPool::Scratch scratch = pool.scratch(static_cast<std::int64_t>(product.bytes()), omp_get_thread_num());
    product.run(stream, a.data, b.data, c.data, scratch.data());
  });
}

std::int64_t onednn_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  return with_memory_errors(
      [&] { return static_cast<std::int64_t>(product_for(a, b, c, Output::overwrite, threads).bytes()); });
}

bool onednn_has_bfloat16() {
  static const bool present = [] {
    const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
    return isa == dnnl::cpu_isa::avx512_core_bf16 || isa == dnnl::cpu_isa::avx512_core_amx;
  }();
  return present;
}

bool onednn_uses_matrix_units() { return dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx; }

std::string_view onednn_instructions() {
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

}  // namespace palimpsest::products
