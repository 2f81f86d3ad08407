// The only file that knows oneDNN. A primitive costs up to a millisecond to make and microseconds to run, so each
// thread keeps the ones it has used, keyed by everything that shapes their code. Left to itself, oneDNN splits a
// product, its inner dimension included, by the number of threads. Here each primitive runs on one thread, on a piece
// of the result whose extents follow from the product's alone, and so do the bits.
#include "core/products/onednn.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>
#include <new>
#include <unordered_map>

#include <omp.h>

#include <dnnl.hpp>

#include "core/parallel.h"
#include "core/products/chunks.h"
#include "core/round_up.h"

namespace palimpsest::products {

namespace {

struct Key {
  std::array<std::int64_t, 9> values;
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

/// One primitive of one thread with the memory objects it is run on.
class Product {
 public:
  Product(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
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
    scratchpad_ = dnnl::memory(primitive_description.scratchpad_desc(), cpu_engine(), nullptr);
    bytes_ = round_up(static_cast<std::int64_t>(primitive_description.scratchpad_desc().get_size()), 64);
    arguments_ = {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}};
    if (bytes_ > 0) arguments_.emplace(DNNL_ARG_SCRATCHPAD, scratchpad_);
  }

  /// Of scratch memory.
  std::int64_t bytes() const { return bytes_; }

  void run(dnnl::stream& stream, const void* a, const void* b, void* c, std::byte* scratch) {
    a_.set_data_handle(const_cast<void*>(a));
    b_.set_data_handle(const_cast<void*>(b));
    c_.set_data_handle(c);
    if (bytes_ > 0) scratchpad_.set_data_handle(scratch);
    primitive_.execute(stream, arguments_);
  }

 private:
  dnnl::matmul primitive_;
  dnnl::memory a_, b_, c_, scratchpad_;
  std::unordered_map<int, dnnl::memory> arguments_;
  std::int64_t bytes_ = 0;
};

/// Ragged documents make many shapes; past this many the cache starts anew.
constexpr std::size_t most_primitives = 4096;

/// The calling thread's primitive for such a product. The number of threads has to be one.
Product& product_for(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output) {
  thread_local std::unordered_map<Key, Product, KeyHash> products;
  const std::int64_t mode = static_cast<std::int64_t>(a.type) * 4 + static_cast<std::int64_t>(c.type) * 2 +
                            (output == Output::accumulate ? 1 : 0);
  const Key key{
      {a.rows, a.columns, b.columns, a.row_stride, a.column_stride, b.row_stride, b.column_stride, c.row_stride, mode}};
  const auto found = products.find(key);
  if (found != products.end()) return found->second;
  if (products.size() >= most_primitives) products.clear();
  return products.emplace(key, Product(a, b, c, output)).first->second;
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

/// A piece of the result and the operands that it is the product of.
struct Piece {
  ConstMatrix a, b;
  Matrix c;
};

/// How a product is cut into pieces: by its extents alone.
class PieceGrid {
 public:
  PieceGrid(const ConstMatrix& a, const ConstMatrix& b)
      : rows_(a.rows, side(a.rows, pieces_of(a, b) == 1 ? a.rows : std::llround(std::sqrt(area(a, b)))), step),
        columns_(b.columns, side(b.columns, area(a, b) / std::min(rows_.length, a.rows)), step) {}

  std::int64_t count() const { return rows_.count * columns_.count; }

  /// Pieces beside each other follow each other, since they share the rows of a.
  Piece piece(std::int64_t index, ConstMatrix a, ConstMatrix b, Matrix c) const {
    const std::int64_t i = index / columns_.count, j = index % columns_.count;
    a.data = at(a.data, rows_.begin(i) * a.row_stride, a.type);
    b.data = at(b.data, columns_.begin(j) * b.column_stride, b.type);
    c.data = const_cast<void*>(at(c.data, rows_.begin(i) * c.row_stride + columns_.begin(j), c.type));
    a.rows = c.rows = rows_.extent(i);
    b.columns = c.columns = columns_.extent(j);
    return {a, b, c};
  }

  /// Calls function(index) for a piece of each shape.
  template <class Function>
  void for_each_shape(Function function) const {
    for (const std::int64_t i : {std::int64_t{0}, rows_.count - 1}) {
      for (const std::int64_t j : {std::int64_t{0}, columns_.count - 1}) function(i * columns_.count + j);
    }
  }

 private:
  static constexpr std::int64_t step = 16, least_side = 256;  // each piece packs its operands anew
  static constexpr std::int64_t least_work = 4L << 20;        // multiplications of a piece
  static constexpr std::int64_t most_pieces = 64;

  static std::int64_t pieces_of(const ConstMatrix& a, const ConstMatrix& b) {
    return std::clamp<std::int64_t>(a.rows * a.columns * b.columns / least_work, 1, most_pieces);
  }
  /// Elements of the result that a piece is to have.
  static std::int64_t area(const ConstMatrix& a, const ConstMatrix& b) { return a.rows * b.columns / pieces_of(a, b); }
  static std::int64_t side(std::int64_t extent, std::int64_t wanted) {
    return round_up(std::min(extent, std::max(least_side, wanted)), step);
  }
  static const void* at(const void* data, std::int64_t elements, DataType type) {
    return static_cast<const std::byte*>(data) + static_cast<std::size_t>(elements) * size_of(type);
  }

  Chunks rows_, columns_;
};

/// Bytes of scratch memory that a thread takes, whichever piece it computes.
std::int64_t scratch_of_a_thread(const PieceGrid& grid, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c,
                                 Output output) {
  const ThreadCount alone(1);
  std::int64_t bytes = 0;
  grid.for_each_shape([&](std::int64_t index) {
    const Piece piece = grid.piece(index, a, b, c);
    bytes = std::max(bytes, with_memory_errors([&] { return product_for(piece.a, piece.b, piece.c, output).bytes(); }));
  });
  return bytes;
}

}  // namespace

void onednn_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                    int threads) {
  const PieceGrid grid(a, b);
  const int team = static_cast<int>(std::min<std::int64_t>(threads, grid.count()));
  const auto run = [&](std::int64_t index, std::byte* scratch) {
    const ThreadCount alone(1);
    thread_local dnnl::stream stream(cpu_engine());
    const Piece piece = grid.piece(index, a, b, c);
    with_memory_errors([&] {
      product_for(piece.a, piece.b, piece.c, output).run(stream, piece.a.data, piece.b.data, piece.c.data, scratch);
    });
  };
  const std::int64_t bytes = scratch_of_a_thread(grid, a, b, c, output);
  const MemoryPool::Scratch scratch = pool.scratch(team * bytes, omp_get_thread_num());
  if (team == 1) {
    for (std::int64_t index = 0; index < grid.count(); ++index) run(index, scratch.data());
    return;
  }
  FirstError error;
#pragma omp parallel for schedule(static) num_threads(team)
  for (std::int64_t index = 0; index < grid.count(); ++index) {
    error.keep([&] { run(index, scratch.data() + omp_get_thread_num() * bytes); });
  }
  error.rethrow();
}

std::int64_t onednn_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  const PieceGrid grid(a, b);
  return std::min<std::int64_t>(threads, grid.count()) * scratch_of_a_thread(grid, a, b, c, Output::overwrite);
}

bool onednn_has_bfloat16() {
  static const bool present = [] {
    const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
    return isa == dnnl::cpu_isa::avx512_core_bf16 || isa == dnnl::cpu_isa::avx512_core_amx;
  }();
  return present;
}

bool onednn_uses_matrix_units() { return dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx; }

int onednn_vector_bytes() {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  if (isa == dnnl::cpu_isa::sse41) return 16;
  return isa == dnnl::cpu_isa::avx || isa == dnnl::cpu_isa::avx2 || isa == dnnl::cpu_isa::avx2_vnni ? 32 : 64;
}

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
