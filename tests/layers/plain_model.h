// The decoder of docs/design.md once more, row by row over plain vectors and without any part of the program's own, for
// tests of kinds of attention: each brings what its rows see. Over dual numbers (Clifford 1873) it gives, beside a
// value, its derivative along one direction of the parameters, exactly, and stops gradients where it is told to.
#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/token_batch.h"
#include "layers/language_model.h"
#include "tests/layers/model_gradients.h"
#include "tests/tensors.h"

namespace palimpsest::testing {

struct Dual {
  double value = 0, slope = 0;

  Dual() = default;
  Dual(double value, double slope = 0) : value(value), slope(slope) {}
  friend Dual operator+(Dual a, Dual b) { return {a.value + b.value, a.slope + b.slope}; }
  friend Dual operator-(Dual a, Dual b) { return {a.value - b.value, a.slope - b.slope}; }
  friend Dual operator*(Dual a, Dual b) { return {a.value * b.value, a.slope * b.value + a.value * b.slope}; }
  friend Dual operator/(Dual a, Dual b) {
    return {a.value / b.value, (a.slope * b.value - a.value * b.slope) / (b.value * b.value)};
  }
  friend Dual exp(Dual a) { return {std::exp(a.value), std::exp(a.value) * a.slope}; }
  friend Dual log(Dual a) { return {std::log(a.value), a.slope / a.value}; }
  friend Dual sqrt(Dual a) { return {std::sqrt(a.value), a.slope / (2 * std::sqrt(a.value))}; }
  friend Dual sigmoid(Dual a) { return Dual(1) / (Dual(1) + exp(Dual(0) - a)); }
};

using Row = std::vector<Dual>;
using Rows = std::vector<Row>;

/// The same as constants.
inline Rows stopped(Rows rows) {
  for (Row& row : rows) {
    for (Dual& x : row) x.slope = 0;
  }
  return rows;
}

inline Rows last(const Rows& rows, std::int64_t count) {
  const auto size = static_cast<std::int64_t>(rows.size());
  return {rows.begin() + std::max<std::int64_t>(size - count, 0), rows.end()};
}

inline void append(Rows& rows, const Rows& more) { rows.insert(rows.end(), more.begin(), more.end()); }

class PlainModel {
 public:
  /// Slopes of parameters are those of `direction`, by name; zero where there is none.
  PlainModel(const LanguageModel& model, const std::map<std::string, std::vector<double>>& direction)
      : config(model.config()) {
    for (const Parameter& parameter : model.parameters()) {
      Row values;
      for (const double value : parameter.master.to_doubles()) values.emplace_back(value);
      if (const auto found = direction.find(parameter.name); found != direction.end()) {
        for (std::size_t i = 0; i < values.size(); ++i) values[i].slope = found->second[i];
      }
      parameters_.emplace(parameter.name, std::move(values));
    }
  }

  const Row& parameter(const std::string& name) const { return parameters_.at(name); }

  /// Rows of a parameter (rows, hidden_size).
  Row row(const std::string& name, std::int64_t index) const {
    const auto begin = parameter(name).begin() + index * config.hidden_size;
    return {begin, begin + config.hidden_size};
  }

  /// W x for W (outputs, inputs).
  Row linear(const std::string& name, const Row& x) const {
    const Row& w = parameter(name);
    Row y(w.size() / x.size());
    for (std::size_t o = 0; o < y.size(); ++o) {
      for (std::size_t i = 0; i < x.size(); ++i) y[o] = y[o] + w[o * x.size() + i] * x[i];
    }
    return y;
  }
  Row norm(const std::string& name, const Row& x) const {
    Dual squares;
    for (const Dual& value : x) squares = squares + value * value;
    const Dual scale = Dual(1) / sqrt(squares / Dual(static_cast<double>(x.size())) + Dual(config.norm_epsilon));
    Row y;
    for (std::size_t i = 0; i < x.size(); ++i) y.push_back(x[i] * scale * parameter(name)[i]);
    return y;
  }

  /// Head `head` of a row of heads, turned to `position`.
  Row rotated(const Row& heads, std::int64_t head, double position) const {
    const auto d = static_cast<std::size_t>(config.head_size), half = d / 2;
    const Row x = head_of(heads, head);
    Row y(d);
    for (std::size_t i = 0; i < half; ++i) {
      const double angle =
          position * std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
      y[i] = x[i] * Dual(std::cos(angle)) - x[i + half] * Dual(std::sin(angle));
      y[i + half] = x[i + half] * Dual(std::cos(angle)) + x[i] * Dual(std::sin(angle));
    }
    return y;
  }
  Row head_of(const Row& heads, std::int64_t head) const {
    const auto begin = heads.begin() + head * config.head_size;
    return {begin, begin + config.head_size};
  }
  std::int64_t kv_head(std::int64_t head) const { return head / (config.num_heads / config.num_kv_heads); }

  static Dual dot(const Row& a, const Row& b) {
    Dual sum;
    for (std::size_t i = 0; i < a.size(); ++i) sum = sum + a[i] * b[i];
    return sum;
  }
  /// softmax(scores / sqrt(d)) values
  Row softmax_sum(const Row& scores, const Rows& values) const {
    Row weights, result(static_cast<std::size_t>(config.head_size));
    Dual total;
    for (const Dual& score : scores) {
      weights.push_back(exp(score / Dual(std::sqrt(static_cast<double>(config.head_size)))));
      total = total + weights.back();
    }
    for (std::size_t j = 0; j < values.size(); ++j) {
      for (std::size_t i = 0; i < result.size(); ++i) result[i] = result[i] + weights[j] / total * values[j][i];
    }
    return result;
  }

  /// Queries that follow `keys_before` of the keys, causal, one document: rows of all heads.
  Rows causal(const Rows& queries, const Rows& keys, const Rows& values) const {
    const std::size_t before = keys.size() - queries.size();
    Rows result;
    for (std::size_t t = 0; t < queries.size(); ++t) {
      result.emplace_back();
      for (std::int64_t head = 0; head < config.num_heads; ++head) {
        const Row query = rotated(queries[t], head, static_cast<double>(before + t));
        Row scores;
        Rows seen;
        for (std::size_t j = 0; j <= before + t; ++j) {
          scores.push_back(dot(query, rotated(keys[j], kv_head(head), static_cast<double>(j))));
          seen.push_back(head_of(values[j], kv_head(head)));
        }
        const Row one = softmax_sum(scores, seen);
        result.back().insert(result.back().end(), one.begin(), one.end());
      }
    }
    return result;
  }

  /// What rows see: of a layer, its queries, keys and values -> rows of all heads.
  using Seen = std::function<Rows(std::int64_t layer, const Rows& queries, const Rows& keys, const Rows& values)>;

  Rows through_layers(Rows x, const Seen& seen) const {
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
      const std::string prefix = "layers." + std::to_string(layer) + ".";
      const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
      Rows queries, keys, values;
      for (const Row& row : x) {
        const Row normed = norm(prefix + "input_layernorm.weight", row);
        queries.push_back(linear(attention + "q_proj.weight", normed));
        keys.push_back(linear(attention + "k_proj.weight", normed));
        values.push_back(linear(attention + "v_proj.weight", normed));
      }
      const Rows heads = seen(layer, queries, keys, values);
      for (std::size_t t = 0; t < x.size(); ++t) {
        add(x[t], linear(attention + "o_proj.weight", heads[t]));
        const Row normed = norm(prefix + "post_attention_layernorm.weight", x[t]);
        const Row gate = linear(mlp + "gate_proj.weight", normed);
        Row inner = linear(mlp + "up_proj.weight", normed);
        for (std::size_t i = 0; i < inner.size(); ++i) inner[i] = inner[i] * gate[i] * sigmoid(gate[i]);
        add(x[t], linear(mlp + "down_proj.weight", inner));
      }
    }
    return x;
  }

  /// The negative log-likelihood of a target after the last layer.
  Dual loss(const Row& x, std::int32_t target) const {
    const Row logits = linear("lm_head.weight", norm("norm.weight", x));
    Dual total;
    for (const Dual& logit : logits) total = total + exp(logit);
    return log(total) - logits[static_cast<std::size_t>(target)];
  }

  const ModelConfig& config;

 private:
  static void add(Row& x, const Row& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = x[i] + y[i];
  }

  std::map<std::string, Row> parameters_;
};

/// Tokens [begin, end) of one lane of a batch: of one document and in one segment.
struct Piece {
  std::int64_t lane, begin, end;
  bool segment_begins;  // with this piece
  bool segment_ends;
};

inline std::vector<Piece> pieces_of(const TokenBatch& batch, std::int64_t segment_length) {
  std::vector<Piece> pieces;
  for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
    for (std::int64_t begin = 0, end = 0; begin < batch.tokens; begin = end) {
      const auto document = [&](std::int64_t t) {
        return batch.documents[static_cast<std::size_t>(lane * batch.tokens + t)];
      };
      end = begin + 1;
      while (end < batch.tokens && end % segment_length != 0 && document(end) == document(begin)) ++end;
      pieces.push_back(
          {lane, begin, end, begin % segment_length == 0, end % segment_length == 0 || end == batch.tokens});
    }
  }
  return pieces;
}

/// Some batches in a row through a plain model; of which the last one's loss counts, its state before a constant.
using PlainLoss = std::function<Dual(const PlainModel& model, const std::vector<TokenBatch>& batches)>;

/// The program's loss and gradients of the last batch, after the others, against the plain model's, each parameter
/// tensor along directions of its own.
inline void compare_with_plain_model(LanguageModel& model, MemoryPool& pool, const std::vector<TokenBatch>& batches,
                                     const PassOptions& options, const PlainLoss& plain) {
  SequenceState state = model.empty_state(pool, batches.front().lanes);
  for (std::size_t i = 0; i + 1 < batches.size(); ++i) token_losses(model, pool, batches[i], state);
  const Gradients actual = gradients(model, pool, batches.back(), state, options);
  std::uint64_t seed = 100;
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    const Parameter& parameter = model.parameters().all()[i];
    const std::vector<double> gradient = actual.parameters[i].to_doubles();
    for (int draw = 0; draw < 2; ++draw) {
      const std::vector<double> direction = normal_values(parameter.master.elements(), ++seed);
      const Dual expected = plain(PlainModel(model, {{parameter.name, direction}}), batches);
      EXPECT_NEAR(actual.loss, expected.value, 1e-11 * std::abs(expected.value));
      double slope = 0, size = 0;
      for (std::size_t j = 0; j < gradient.size(); ++j) {
        slope += gradient[j] * direction[j];
        size += gradient[j] * gradient[j];
      }
      EXPECT_GT(size, 0) << parameter.name;
      EXPECT_NEAR(slope, expected.slope, 1e-10 * std::sqrt(size)) << parameter.name;
    }
  }
}

}  // namespace palimpsest::testing
