// Dozens of threads are given about the same work, operator by operator, in the shapes that speed is measured with.
#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "autograd/ops/cross_entropy.h"
#include "configs/yaml.h"
#include "core/kernels/attention_backward.h"
#include "core/kernels/embedding.h"
#include "core/kernels/gate.h"
#include "core/kernels/memory_parts.h"
#include "core/kernels/norm.h"
#include "core/kernels/swiglu.h"
#include "core/matmul.h"
#include "core/matmul_shares.h"
#include "core/overlapping_layout.h"
#include "core/products/matrix_units.h"
#include "core/work_shares.h"
#include "optim/blocks.h"

namespace palimpsest {
namespace {

constexpr int threads = 64;

/// An operator of a step: the work of each thread.
struct Operator {
  std::string name;
  std::vector<double> shares;

  double work() const { return std::accumulate(shares.begin(), shares.end(), 0.0); }
};

/// One whose work is multiplications.
struct Product : Operator {
  double times;  // a step
};

class Step {
 public:
  /// Segments see `overlap` tokens in front of them, those of the first segment from an earlier pass.
  Step(const ModelConfig& model, std::int64_t lanes, std::int64_t tokens, DataType type, std::int64_t overlap)
      : model_(model),
        rows_(lanes * tokens),
        type_(type),
        layout_(overlapping(
            make_layout(std::vector<std::int64_t>(static_cast<std::size_t>(rows_), 0),
                        std::vector<std::int64_t>(static_cast<std::size_t>(lanes), 0), model.segment_length),
            std::vector<std::int64_t>(static_cast<std::size_t>(lanes), overlap), overlap)) {
    const auto layers = static_cast<double>(model.num_layers);
    const std::int64_t queries = model.num_heads * model.head_size, keys = model.num_kv_heads * model.head_size;
    linear("q_proj", rows_, model.hidden_size, queries, type, layers);
    linear("k_proj and v_proj", rows_, model.hidden_size, keys, type, 2 * layers);
    linear("o_proj", rows_, queries, model.hidden_size, type, layers);
    linear("gate_proj and up_proj", rows_, model.hidden_size, model.ffn_size, type, 2 * layers);
    linear("down_proj", rows_, model.ffn_size, model.hidden_size, type, layers);
    const std::int64_t head_rows = std::min(rows_, head_block_rows(model.vocab_size));
    linear("head", head_rows, model.hidden_size, model.vocab_size, DataType::float32,
           static_cast<double>(rows_) / static_cast<double>(head_rows));
    attention(layers, overlap > 0);
    memory(layers);
    loops_over_rows(head_rows);
    const std::int64_t hidden = model.hidden_size;
    for (const auto& [rows, columns] : {std::pair{queries, hidden},
                                        {keys, hidden},
                                        {hidden, queries},
                                        {model.ffn_size, hidden},
                                        {hidden, model.ffn_size},
                                        {model.vocab_size, hidden}}) {
      loops_over_weights(rows, columns);
    }
  }

  const std::vector<Product>& products() const { return products_; }
  const std::vector<Operator>& loops() const { return loops_; }
  bool by_own_products() const { return own_products_; }

 private:
  Matrix extents(std::int64_t rows, std::int64_t columns, DataType type) const {
    return {nullptr, type, rows, columns, columns};
  }
  void multiplying(const std::string& name, std::vector<double> shares, double times) {
    products_.push_back({{name, std::move(shares)}, times});
  }
  void product(const std::string& name, const ConstMatrix& a, const ConstMatrix& b, DataType type, double times) {
    const ProductShares shares = matmul_shares(a, b, extents(a.rows, b.columns, type), threads);
    own_products_ = own_products_ && !shares.multiplications.empty();
    multiplying(name, shares.multiplications, times);
    // Matrix units pack little at a time, in fewer pieces than threads where the inner dimension is short.
    if (!matmul_uses_matrix_units()) loops_.push_back({name + ", packing", shares.packed});
  }
  void linear(const std::string& name, std::int64_t rows, std::int64_t inputs, std::int64_t outputs, DataType result,
              double times) {
    const Matrix x = extents(rows, inputs, type_), w = extents(outputs, inputs, type_);
    const Matrix dy = extents(rows, outputs, type_);
    product(name + " forward", x, w.transposed(), result, times);
    product(name + " gradient of inputs", dy, w, type_, times);
    product(name + " gradient of weights", dy.transposed(), x, DataType::float32, times);
  }
  void attention(double layers, bool spans_share_keys) {
    using namespace attention_tiles;
    const std::int64_t group = model_.num_heads / model_.num_kv_heads;
    const double size = static_cast<double>(model_.head_size * group) * layers;
    const bool units = type_ == DataType::bfloat16 && matmul_uses_matrix_units();
    const std::int64_t key_step = units ? products::unit_rows : SpanBackward<float>::key_step;
    multiplying("attention forward", shares_of(forward_parts(layout_, model_.num_kv_heads, threads), threads),
                2 * size);
    multiplying("attention backward",
                shares_of(backward_parts(layout_, model_.num_kv_heads, spans_share_keys, key_step, threads), threads),
                size);
  }
  void memory(double layers) {
    using namespace memory_tiles;
    const MemoryShape shape{layout_, model_.num_kv_heads, model_.num_heads / model_.num_kv_heads, model_.head_size};
    multiplying("memory_read forward", memory_read_forward_shares(shape, threads), layers);
    multiplying("memory_read backward", memory_read_backward_shares(shape, threads), layers);
    for (const bool delta : {false, true}) {
      const std::string rule = delta ? " of the delta rule" : " of the linear rule";
      multiplying("memory_write forward" + rule, memory_write_forward_shares(shape, delta, threads), layers);
      multiplying("memory_write backward" + rule, memory_write_backward_shares(shape, delta, threads), layers);
    }
  }

  /// A loop over `count` elements that threads share in blocks.
  void loop(const std::string& name, std::int64_t count, std::int64_t block) {
    std::vector<double> tasks;
    for (std::int64_t begin = 0; begin < count; begin += block) {
      tasks.push_back(static_cast<double>(std::min(block, count - begin)));
    }
    loops_.push_back({name, shared_out(tasks, threads)});
  }
  /// What goes over activations row by row, or element by element.
  void loops_over_rows(std::int64_t head_rows) {
    const std::int64_t hidden = model_.hidden_size, queries = model_.num_heads * model_.head_size;
    std::vector<std::int32_t> tokens;
    for (std::int64_t row = 0; row < rows_; ++row) tokens.push_back(static_cast<std::int32_t>(row % model_.vocab_size));
    loop("embedding forward", rows_ * hidden, hidden);
    loops_.push_back({"embedding backward", embedding_backward_shares(tokens, hidden, threads)});
    loop("rms_norm forward", rows_ * hidden, hidden);
    loops_.push_back({"rms_norm backward", rms_norm_backward_shares(rows_, hidden, threads)});
    loop("gate forward", rows_ * queries, queries);
    loop("gate backward", rows_ * queries, gate_rows_of_block(rows_) * queries);
    loop("swiglu", rows_ * model_.ffn_size, swiglu_block);
    loop("cross_entropy", head_rows * model_.vocab_size, model_.vocab_size);
  }
  /// What the optimizers do with a matrix, and what the norm of all gradients takes.
  void loops_over_weights(std::int64_t rows, std::int64_t columns) {
    const std::int64_t count = rows * columns;
    const std::string shape = fmt::format(" of {} x {}", rows, columns);
    loop("adamw and gradient norm" + shape, count, block_of(count));
    loop("adafactor" + shape, count, rows_of_block(rows, columns) * columns);
  }

  ModelConfig model_;
  std::int64_t rows_;
  DataType type_;
  SequenceLayout layout_;
  std::vector<Product> products_;
  std::vector<Operator> loops_;
  bool own_products_ = true;
};

void expect_even(const Operator& each) {
  EXPECT_LE(largest_share(each.shares), 1.15 * each.work() / threads) << each.name;
}

/// All loops, and the products that are more than a hundredth of all.
void expect_even(const Step& step) {
  double all = 0;
  for (const Product& each : step.products()) all += each.work() * each.times;
  for (const Product& each : step.products()) {
    if (each.work() * each.times >= 0.01 * all) expect_even(each);
  }
  for (const Operator& each : step.loops()) expect_even(each);
}

TEST(WorkShares, AreEvenAmongSixtyFourThreads) {
  for (const std::string name : {"small", "paper"}) {
    const RunConfig config =
        load_run_config(std::filesystem::path(PALIMPSEST_SOURCE_DIR) / "configs" / "bench" / (name + ".yaml"));
    const ModelConfig model = config.model.resolved();
    for (const std::int64_t lanes : {1, 4}) {
      for (const bool sequential : {false, true}) {
        for (const DataType type : {DataType::float32, DataType::bfloat16}) {
          for (const std::int64_t overlap : {0, 64}) {
            const Step step(model, lanes, sequential ? model.segment_length : config.train.sequence_length, type,
                            overlap);
            if (!step.by_own_products()) continue;
            SCOPED_TRACE(fmt::format("{} {}, {} lanes, {}, overlap {}", name, sequential ? "sequential" : "parallel",
                                     lanes, name_of(type), overlap));
            expect_even(step);
          }
        }
      }
    }
  }
}

TEST(WorkShares, AreDealtOutToWhoHasLeast) {
  EXPECT_EQ(largest_share(dealt_out({5, 4, 3, 3}, 2)), 8);
  EXPECT_EQ(largest_share(dealt_out({4, 4, 3, 3}, 2)), 7);
  EXPECT_EQ(shared_out({1, 2, 3, 4, 5}, 2), (std::vector<double>{3, 12}));
}

}  // namespace
}  // namespace palimpsest
