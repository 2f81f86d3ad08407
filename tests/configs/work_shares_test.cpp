// Dozens of threads are given about the same work, operator by operator, in the shapes that speed is measured with.
#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "autograd/ops/cross_entropy.h"
#include "configs/yaml.h"
#include "core/kernels/attention_backward.h"
#include "core/kernels/memory_parts.h"
#include "core/matmul.h"
#include "core/matmul_shares.h"
#include "core/overlapping_layout.h"
#include "core/products/matrix_units.h"
#include "core/work_shares.h"

namespace palimpsest {
namespace {

constexpr int threads = 64;

/// An operator of a step: the work of each thread, in multiplications.
struct Operator {
  std::string name;
  std::vector<double> shares;
  double times;  // a step

  double work() const { return std::accumulate(shares.begin(), shares.end(), 0.0); }
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
  }

  const std::vector<Operator>& operators() const { return operators_; }
  bool by_own_products() const { return own_products_; }

 private:
  Matrix extents(std::int64_t rows, std::int64_t columns, DataType type) const {
    return {nullptr, type, rows, columns, columns};
  }
  void product(const std::string& name, const ConstMatrix& a, const ConstMatrix& b, DataType type, double times) {
    operators_.push_back({name, matmul_shares(a, b, extents(a.rows, b.columns, type), threads), times});
    own_products_ = own_products_ && !operators_.back().shares.empty();
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
    operators_.push_back(
        {"attention forward", shares_of(forward_parts(layout_, model_.num_kv_heads, threads), threads), 2 * size});
    operators_.push_back(
        {"attention backward",
         shares_of(backward_parts(layout_, model_.num_kv_heads, spans_share_keys, key_step, threads), threads), size});
  }
  void memory(double layers) {
    using namespace memory_tiles;
    const MemoryShape shape{layout_, model_.num_kv_heads, model_.num_heads / model_.num_kv_heads, model_.head_size};
    operators_.push_back({"memory_read forward", memory_read_forward_shares(shape, threads), layers});
    operators_.push_back({"memory_read backward", memory_read_backward_shares(shape, threads), layers});
    for (const bool delta : {false, true}) {
      const std::string rule = delta ? " of the delta rule" : " of the linear rule";
      operators_.push_back({"memory_write forward" + rule, memory_write_forward_shares(shape, delta, threads), layers});
      operators_.push_back(
          {"memory_write backward" + rule, memory_write_backward_shares(shape, delta, threads), layers});
    }
  }

  ModelConfig model_;
  std::int64_t rows_;
  DataType type_;
  SequenceLayout layout_;
  std::vector<Operator> operators_;
  bool own_products_ = true;
};

void expect_even(const Step& step) {
  double all = 0;
  for (const Operator& each : step.operators()) all += each.work() * each.times;
  for (const Operator& each : step.operators()) {
    if (each.work() * each.times < 0.01 * all) continue;
    EXPECT_LE(largest_share(each.shares), 1.15 * each.work() / threads) << each.name;
  }
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
