// Memory write, memory read, local attention and gate: values against plain loops written from the
// equations, gradients in float64 against central differences, over layouts with documents anywhere.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/grad_check.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/memory.h"
#include "core/random.h"

namespace palimpsest {
namespace {

struct Setting {
  std::string name;
  HeadCounts counts;
  std::int64_t lanes, tokens, segment_length;
  std::vector<std::int64_t> documents;  // lanes x tokens
  std::vector<std::int64_t> carried;    // lanes
  bool delta;
  std::vector<float> weights = {};  // lanes x tokens: how much each writes
};

std::vector<Setting> settings() {
  const std::vector<std::int64_t> one(11, 0);
  std::vector<std::int64_t> several{
      0, 0, 0, 1, 1, 1, 1, 1, 2, 3, 3,  // starts in mid-segment, at a boundary, twice in one
      4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4};
  // A whole segment several times, tokens kept out, and weights that differ inside a segment.
  const std::vector<float> weights{3, 3, 3, 3, 1, 0, 0.5f, 2, 1, 0, 4, 1, 1, 1, 1, 0, 0, 0, 0, 7.5f, 0, 2};
  return {{"OneDocument", {2, 2, 4}, 1, 11, 4, one, {no_document}, false},
          {"CarriedDelta", {2, 2, 4}, 1, 11, 4, one, {0}, true},
          {"GroupedDocuments", {4, 2, 6}, 2, 11, 4, several, {0, 3}, false},
          {"GroupedDocumentsDelta", {4, 2, 6}, 2, 11, 4, several, {0, 4}, true},
          {"SegmentsOfOne", {3, 1, 2}, 2, 11, 1, several, {no_document, 4}, true},
          {"LongerThanATile", {2, 1, 8}, 1, 300, 290, std::vector<std::int64_t>(300, 7), {7}, true},
          {"Weighted", {2, 2, 4}, 2, 11, 4, several, {0, 3}, false, weights},
          {"WeightedDelta", {2, 2, 4}, 2, 11, 4, several, {0, 4}, true, weights},
          {"WeightedDeltaLongerThanATile",
           {2, 1, 8},
           1,
           300,
           290,
           std::vector<std::int64_t>(300, 7),
           {7},
           true,
           std::vector<float>(300, 2.5f)}};
}

class InfiniAttentionOps : public testing::TestWithParam<Setting> {
 protected:
  InfiniAttentionOps()
      : setting(GetParam()),
        counts(setting.counts),
        layout(std::make_shared<const SequenceLayout>(
            make_layout(setting.documents, setting.carried, setting.segment_length, setting.weights))),
        query(random({setting.lanes, setting.tokens, counts.heads * counts.head_size}, 1)),
        key(random({setting.lanes, setting.tokens, counts.kv_heads * counts.head_size}, 2)),
        value(random({setting.lanes, setting.tokens, counts.kv_heads * counts.head_size}, 3)),
        initial{random({setting.lanes, counts.kv_heads, counts.head_size, counts.head_size}, 4),
                random({setting.lanes, counts.kv_heads, counts.head_size}, 5, true)} {}

  Variable random(Shape shape, std::uint32_t lane, bool positive = false) {
    const Random numbers(17, RandomPurpose::test, 0, lane);
    std::vector<double> values(static_cast<std::size_t>(shape.elements()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = positive ? 1.0 + numbers.uniform(i) : numbers.normal(i);
    }
    return Variable::leaf(Tensor::from_values(pool, shape, DataType::float64, values));
  }

  const double* row(const Variable& v, std::int64_t lane, std::int64_t token, std::int64_t head) const {
    const std::int64_t width = v.shape()[2];
    return v.value().data<double>() + (lane * setting.tokens + token) * width + head * counts.head_size;
  }
  std::int64_t document(std::int64_t lane, std::int64_t token) const {
    return setting.documents[static_cast<std::size_t>(lane * setting.tokens + token)];
  }
  double weight(std::int64_t lane, std::int64_t token) const {
    return setting.weights.empty() ? 1.0 : setting.weights[static_cast<std::size_t>(lane * setting.tokens + token)];
  }
  static double sigma(double x) { return x > 0 ? x + 1 : std::exp(x); }

  /// Of each key/value head, what goes on of its memory.
  Variable shares() {
    Variable numbers = random({counts.kv_heads}, 9, true);
    for (double& share : numbers.value().values<double>()) share *= 0.4;
    return numbers;
  }
  void expect_the_equations(const Variable& decay);

  void expect_gradients(const std::function<std::vector<Variable>(Tape&)>& function, std::vector<Variable> leaves) {
    GradientCheckOptions options;
    options.elements_per_leaf = setting.tokens > 100 ? 24 : 0;
    const GradientCheck check = check_gradients(pool, function, leaves, options);
    EXPECT_LT(check.relative_error, 1e-6) << check.to_string();
  }

  MemoryPool pool;
  Setting setting;
  HeadCounts counts;
  LayoutPointer layout;
  Variable query, key, value;
  LayerMemory initial;
};

TEST_P(InfiniAttentionOps, MemoryMatchesTheEquations) { expect_the_equations({}); }

TEST_P(InfiniAttentionOps, ADecayedMemoryMatchesTheEquations) { expect_the_equations(shares()); }

void InfiniAttentionOps::expect_the_equations(const Variable& decay) {
  const std::int64_t d = counts.head_size, group = counts.heads / counts.kv_heads;
  const double epsilon = 1e-3;
  Tape tape(pool, Tape::Mode::inference);
  const MemoryWrite written = memory_write(tape, key, value, initial, layout, counts, {setting.delta, epsilon}, decay);
  const Variable read = memory_read(tape, query, written.before, layout, counts, epsilon);

  for (std::int64_t lane = 0; lane < setting.lanes; ++lane) {
    for (std::int64_t kv = 0; kv < counts.kv_heads; ++kv) {
      const std::int64_t at = lane * counts.kv_heads + kv;
      const double* m0 = initial.matrix.value().data<double>() + at * d * d;
      const double* z0 = initial.norm.value().data<double>() + at * d;
      std::vector<double> m(m0, m0 + d * d), z(z0, z0 + d);
      std::int64_t held = setting.carried[static_cast<std::size_t>(lane)];
      for (std::int64_t begin = 0; begin < setting.tokens; begin += setting.segment_length) {
        const std::int64_t end = std::min(begin + setting.segment_length, setting.tokens);
        const auto lookup = [&](const double* x, const std::vector<double>& divisor, std::vector<double>& out) {
          double denominator = epsilon;
          for (std::int64_t i = 0; i < d; ++i) denominator += sigma(x[i]) * divisor[i];
          for (std::int64_t j = 0; j < d; ++j) {
            out[j] = 0;
            for (std::int64_t i = 0; i < d; ++i) out[j] += sigma(x[i]) * m[i * d + j] / denominator;
          }
        };
        std::vector<double> expected(d);
        for (std::int64_t t = begin; t < end; ++t) {
          for (std::int64_t head = kv * group; head < (kv + 1) * group; ++head) {
            std::fill(expected.begin(), expected.end(), 0.0);
            if (held != no_document && document(lane, t) == held) lookup(row(query, lane, t, head), z, expected);
            for (std::int64_t j = 0; j < d; ++j) EXPECT_NEAR(row(read, lane, t, head)[j], expected[j], 1e-11);
          }
        }
        const std::int64_t last = document(lane, end - 1);
        if (last != held) {
          std::fill(m.begin(), m.end(), 0.0);
          std::fill(z.begin(), z.end(), 0.0);
        }
        std::vector<double> next_m = m, next_z = z, divisor = z;
        const double share = decay.defined() ? decay.value().data<double>()[kv] : 1.0;
        for (double& x : next_m) x *= share;
        for (double& x : next_z) x *= share;
        for (std::int64_t t = begin; t < end; ++t) {
          if (document(lane, t) != last) continue;
          const double excess = std::max(weight(lane, t) - 1, 0.0);
          for (std::int64_t i = 0; i < d; ++i) divisor[i] += excess * sigma(row(key, lane, t, kv)[i]);
        }
        for (std::int64_t t = begin; t < end; ++t) {
          if (document(lane, t) != last) continue;
          const double* k = row(key, lane, t, kv);
          std::vector<double> known(d, 0.0);
          if (setting.delta) lookup(k, divisor, known);
          const double w = weight(lane, t);
          for (std::int64_t i = 0; i < d; ++i) {
            next_z[i] += w * sigma(k[i]);
            for (std::int64_t j = 0; j < d; ++j)
              next_m[i * d + j] += w * sigma(k[i]) * (row(value, lane, t, kv)[j] - known[j]);
          }
        }
        m = next_m;
        z = next_z;
        held = last;
      }
      for (std::int64_t i = 0; i < d * d; ++i) {
        EXPECT_NEAR(written.after.matrix.value().data<double>()[at * d * d + i], m[i], 1e-9);
      }
      for (std::int64_t i = 0; i < d; ++i)
        EXPECT_NEAR(written.after.norm.value().data<double>()[at * d + i], z[i], 1e-9);
    }
  }
}

TEST_P(InfiniAttentionOps, MemoryGradients) {
  for (const Variable& decay : {Variable(), shares()}) {
    const auto both = [&](Tape& tape) {
      const MemoryWrite written = memory_write(tape, key, value, initial, layout, counts, {setting.delta, 1e-3}, decay);
      return std::vector<Variable>{memory_read(tape, query, written.before, layout, counts, 1e-3), written.after.matrix,
                                   written.after.norm};
    };
    std::vector<Variable> leaves{query, key, value, initial.matrix, initial.norm};
    if (decay.defined()) leaves.push_back(decay);
    expect_gradients(both, leaves);
  }
}

TEST_P(InfiniAttentionOps, ReadsWithAGainAreNormalisedByTheirRootMeanSquare) {
  const std::int64_t d = counts.head_size, group = counts.heads / counts.kv_heads;
  const double epsilon = 1e-3;
  const Variable gain = random({counts.heads, d}, 8);
  const auto both = [&](Tape& tape) {
    const MemoryWrite written = memory_write(tape, key, value, initial, layout, counts, {setting.delta, epsilon});
    return std::vector<Variable>{memory_read(tape, query, written.before, layout, counts, epsilon, gain),
                                 written.after.matrix};
  };
  expect_gradients(both, {query, key, value, initial.matrix, gain});

  Tape tape(pool, Tape::Mode::inference);
  const MemoryWrite written = memory_write(tape, key, value, initial, layout, counts, {setting.delta, epsilon});
  const Variable read = memory_read(tape, query, written.before, layout, counts, epsilon, gain);
  for (std::int64_t lane = 0; lane < setting.lanes; ++lane) {
    for (std::int64_t t = 0; t < setting.tokens; ++t) {
      const std::int64_t slot = t / setting.segment_length;
      const Segment& segment = layout->segment(lane, slot);
      for (std::int64_t head = 0; head < counts.heads; ++head) {
        const std::int64_t at = (slot * setting.lanes + lane) * counts.kv_heads + head / group;
        const double* const m = written.before.matrix.value().data<double>() + at * d * d;
        std::vector<double> expected(d, 0.0);
        double square = 0;
        for (std::int64_t j = 0; j < d; ++j) {
          for (std::int64_t i = 0; i < d; ++i) expected[j] += sigma(row(query, lane, t, head)[i]) * m[i * d + j];
          square += expected[j] * expected[j] / static_cast<double>(d);
        }
        const bool reads = lane * setting.tokens + t - segment.begin < segment.carried;
        for (std::int64_t j = 0; j < d; ++j) {
          const double g = gain.value().data<double>()[head * d + j];
          const double normalised = reads ? g * expected[j] / std::sqrt(square + epsilon) : 0.0;
          EXPECT_NEAR(row(read, lane, t, head)[j], normalised, 1e-11);
        }
      }
    }
  }
}

TEST_P(InfiniAttentionOps, LocalAttentionMatchesTheEquations) {
  const std::int64_t d = counts.head_size, group = counts.heads / counts.kv_heads;
  const double theta = 100.0;
  const auto table = std::make_shared<const RotaryTable>(pool, setting.segment_length, d, theta, DataType::float64);
  Tape tape(pool, Tape::Mode::inference);
  const Variable output = local_attention(tape, query, key, value, layout, counts, table);
  const auto rotated = [&](const double* x, std::int64_t position) {
    std::vector<double> y(d);
    for (std::int64_t i = 0; i < d / 2; ++i) {
      const double angle =
          static_cast<double>(position) * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
      y[i] = x[i] * std::cos(angle) - x[i + d / 2] * std::sin(angle);
      y[i + d / 2] = x[i + d / 2] * std::cos(angle) + x[i] * std::sin(angle);
    }
    return y;
  };
  for (std::int64_t lane = 0; lane < setting.lanes; ++lane) {
    for (std::int64_t t = 0; t < setting.tokens; ++t) {
      const std::int64_t start = t / setting.segment_length * setting.segment_length;
      for (std::int64_t head = 0; head < counts.heads; ++head) {
        const std::vector<double> q = rotated(row(query, lane, t, head), t - start);
        std::vector<double> expected(d, 0.0);
        double total = 0;
        for (std::int64_t s = start; s <= t; ++s) {
          if (document(lane, s) != document(lane, t)) continue;
          const std::vector<double> k = rotated(row(key, lane, s, head / group), s - start);
          double score = 0;
          for (std::int64_t i = 0; i < d; ++i) score += q[i] * k[i];
          const double weight = std::exp(score / std::sqrt(static_cast<double>(d)));
          total += weight;
          for (std::int64_t i = 0; i < d; ++i) expected[i] += weight * row(value, lane, s, head / group)[i];
        }
        for (std::int64_t i = 0; i < d; ++i) EXPECT_NEAR(row(output, lane, t, head)[i], expected[i] / total, 1e-11);
      }
    }
  }
}

TEST_P(InfiniAttentionOps, LocalAttentionGradients) {
  const auto table =
      std::make_shared<const RotaryTable>(pool, setting.segment_length, counts.head_size, 100.0, DataType::float64);
  const auto attend = [&](Tape& tape) {
    return std::vector<Variable>{local_attention(tape, query, key, value, layout, counts, table)};
  };
  expect_gradients(attend, {query, key, value});
}

TEST_P(InfiniAttentionOps, GradientsAddToWhatIsThere) {
  const auto table =
      std::make_shared<const RotaryTable>(pool, setting.segment_length, counts.head_size, 100.0, DataType::float64);
  const Variable gain = random({counts.heads, counts.head_size}, 8);
  const auto everything = [&](Tape& tape) {
    const MemoryWrite written = memory_write(tape, key, value, initial, layout, counts, {setting.delta, 1e-3});
    const Variable again = memory_read(tape, query, written.before, layout, counts, 1e-3);
    return std::vector<Variable>{memory_read(tape, query, written.before, layout, counts, 1e-3),
                                 again,
                                 memory_read(tape, query, written.before, layout, counts, 1e-3, gain),
                                 memory_read(tape, query, written.before, layout, counts, 1e-3, gain),
                                 local_attention(tape, query, key, value, layout, counts, table),
                                 local_attention(tape, query, key, value, layout, counts, table)};
  };
  expect_gradients(everything, {query, key, value, initial.matrix, initial.norm, gain});
}

TEST_P(InfiniAttentionOps, Gate) {
  const Variable beta = random({counts.heads}, 6);
  const Variable local = random(query.shape(), 7);
  for (const auto& [everywhere, adds] : {std::pair{false, false}, {true, false}, {false, true}, {true, true}}) {
    const auto mixes = std::make_shared<const std::vector<std::uint8_t>>(rows_that_mix(*layout, everywhere));
    const auto join = [&, adds = adds](Tape& tape) {
      return std::vector<Variable>{gate(tape, beta, query, local, mixes, counts, adds)};
    };
    expect_gradients(join, {beta, query, local});
    Tape tape(pool, Tape::Mode::inference);
    const Variable output = join(tape).front();
    for (std::int64_t lane = 0; lane < setting.lanes; ++lane) {
      std::int64_t held = setting.carried[static_cast<std::size_t>(lane)];
      for (std::int64_t t = 0; t < setting.tokens; ++t) {
        if (t > 0 && t % setting.segment_length == 0) held = document(lane, t - 1);
        const bool reads = everywhere || (held != no_document && document(lane, t) == held);
        for (std::int64_t head = 0; head < counts.heads; ++head) {
          const double g = reads ? 1 / (1 + std::exp(-beta.value().data<double>()[head])) : 0.0;
          const double kept = adds ? 1 : 1 - g;
          for (std::int64_t i = 0; i < counts.head_size; ++i) {
            EXPECT_NEAR(row(output, lane, t, head)[i],
                        g * row(query, lane, t, head)[i] + kept * row(local, lane, t, head)[i], 1e-12);
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, InfiniAttentionOps, testing::ValuesIn(settings()),
                         [](const auto& info) { return info.param.name; });

TEST(MemoryWrite, KeepsTheStateBeforeASingleSegmentOnce) {
  MemoryPool pool;
  Tape tape(pool);
  const std::vector<std::int64_t> documents(4, 0), carried{0};
  const auto layout = std::make_shared<const SequenceLayout>(make_layout(documents, carried, 4));
  const Variable keys = Variable::leaf(Tensor::zeros(pool, Shape{1, 4, 8}, DataType::float32));
  const LayerMemory initial{Variable(Tensor::zeros(pool, Shape{1, 2, 4, 4}, DataType::float32)),
                            Variable(Tensor::zeros(pool, Shape{1, 2, 4}, DataType::float32))};
  const auto kept = [&] { return pool.statistics().bytes_in_use - pool.statistics().scratch_bytes; };
  const std::size_t before = kept();
  const MemoryWrite written = memory_write(tape, keys, keys, initial, layout, {2, 2, 4}, {});
  EXPECT_EQ(kept() - before, 128u + 64u);  // the state after it
  EXPECT_EQ(written.before.matrix.value().raw().data(), initial.matrix.value().raw().data());
}

TEST(InfiniAttentionOpsErrors, FeaturesOfEitherSignAreNoNorm) {
  MemoryPool pool;
  Tape tape(pool);
  const std::vector<std::int64_t> documents(4, 0), carried{0};
  const auto layout = std::make_shared<const SequenceLayout>(make_layout(documents, carried, 4));
  const Variable keys(Tensor::zeros(pool, Shape{1, 4, 8}, DataType::float32));
  const LayerMemory initial{Variable(Tensor::zeros(pool, Shape{1, 2, 4, 4}, DataType::float32)),
                            Variable(Tensor::zeros(pool, Shape{1, 2, 4}, DataType::float32))};
  const HeadCounts counts{2, 2, 4};
  const MemoryRule delta{.delta = true, .features = MemoryFeatures::identity};
  EXPECT_THROW(memory_write(tape, keys, keys, initial, layout, counts, delta), ShapeError);
  const MemoryWrite written =
      memory_write(tape, keys, keys, initial, layout, counts, {.features = MemoryFeatures::identity});
  EXPECT_THROW(memory_read(tape, keys, written.before, layout, counts, 1e-6, {}, MemoryFeatures::identity), ShapeError);
}

TEST(InfiniAttentionOpsErrors, NamesOperationAndShapes) {
  MemoryPool pool;
  Tape tape(pool);
  const std::vector<std::int64_t> documents(4, 0), carried{no_document};
  const auto layout = std::make_shared<const SequenceLayout>(make_layout(documents, carried, 2));
  const Variable wrong(Tensor::zeros(pool, Shape{1, 4, 6}, DataType::float32));
  const auto table = std::make_shared<const RotaryTable>(pool, 2, 4, 100.0, DataType::float32);
  try {
    local_attention(tape, wrong, wrong, wrong, layout, {2, 2, 4}, table);
    FAIL() << "a wrong width was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "local_attention: query is float32 (1, 4, 6), expected float32 (1, 4, 8)");
  }
}

}  // namespace
}  // namespace palimpsest
