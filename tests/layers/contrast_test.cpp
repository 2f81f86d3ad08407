// Documents that are contrasted: loss weights worked out by hand, gradients through the memory against central
// differences, and that no query sees another.
#include "layers/contrast.h"

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/layers/model_gradients.h"
#include "tests/small_config.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

using testing::Gradients;
using testing::gradients;

constexpr std::int64_t segment = 5;
constexpr double weight = 0.7, temperature = 0.5;

/// Documents of so many tokens, each followed by as many queries as there are documents, in segments of their own;
/// that of number i, of 2 + i tokens, belongs to document i. Each lane has other tokens.
TokenBatch asked_batch(std::int64_t lanes, const std::vector<std::int64_t>& lengths) {
  TokenBatch batch;
  batch.lanes = lanes;
  const Random random(11, RandomPurpose::test);
  std::uint64_t index = 0;
  const auto token = [&] { return static_cast<std::int32_t>(random.below(index++, 23)); };
  for (std::int64_t lane = 0; lane < lanes; ++lane) {
    std::vector<std::vector<std::int32_t>> queries;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      queries.emplace_back();
      for (std::size_t k = 0; k < 2 + i; ++k) queries.back().push_back(token());
    }
    const auto add = [&](std::int32_t input, std::int32_t target, std::size_t document, float loss, float write,
                         std::size_t query) {
      batch.inputs.push_back(input);
      batch.targets.push_back(target);
      batch.documents.push_back(static_cast<std::int64_t>(document));
      batch.loss_weights.push_back(loss);
      batch.write_weights.push_back(write);
      batch.queries.push_back(static_cast<std::int32_t>(query));
    };
    for (std::size_t document = 0; document < lengths.size(); ++document) {
      const std::int64_t rows = (lengths[document] + segment - 1) / segment * segment;
      for (std::int64_t i = 0; i < rows; ++i) add(token(), 0, document, 0, i < lengths[document] ? 1.0F : 0.0F, 0);
      for (std::size_t query = 0; query < queries.size(); ++query) {
        for (std::size_t i = 0; i < static_cast<std::size_t>(segment); ++i) {
          const bool asked = i < queries[query].size();
          add(i == 0  ? 1
              : asked ? queries[query][i - 1]
                      : 0,
              asked ? queries[query][i] : 0, document, asked && query == document ? 1.0F : 0.0F, 0,
              asked ? query + 1 : 0);
        }
      }
    }
  }
  batch.tokens = static_cast<std::int64_t>(batch.inputs.size()) / lanes;
  return batch;
}

class ModelContrast : public ::testing::TestWithParam<MemoryUpdate> {
 protected:
  ModelContrast() { model_.initialize(3); }

  std::vector<double> losses_of(const TokenBatch& batch) {
    SequenceState state = model_.empty_state(pool_, batch.lanes);
    return token_losses(model_, pool_, batch, state);
  }
  /// The whole loss, as its definition has it: {of the targets, of the contrast}.
  std::pair<double, double> expected(const TokenBatch& batch) {
    const std::vector<double> losses = losses_of(batch);
    double targets = 0, contrast = 0;
    for (std::size_t i = 0; i < losses.size(); ++i) targets += static_cast<double>(batch.loss_weights[i]) * losses[i];
    for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
      for (std::int32_t query = 1; query <= 3; ++query) {
        std::map<std::int64_t, double> sums;
        std::int64_t own = -1;
        for (std::int64_t t = lane * batch.tokens; t < (lane + 1) * batch.tokens; ++t) {
          const auto i = static_cast<std::size_t>(t);
          if (batch.queries[i] != query) continue;
          sums[batch.documents[i]] -= losses[i];
          if (batch.loss_weights[i] != 0) own = batch.documents[i];
        }
        const double tokens = 1 + query;
        double sum = 0;
        for (const auto& [document, likelihood] : sums) sum += std::exp(likelihood / tokens / temperature);
        contrast += tokens * (std::log(sum) - sums.at(own) / tokens / temperature);
      }
    }
    return {targets, contrast};
  }
  PassOptions options(Schedule schedule, Recompute recompute) {
    totals_ = {};
    return {
        .schedule = schedule, .recompute = recompute, .loss_scale = 0.5, .contrast = {weight, temperature, &totals_}};
  }

  MemoryPool pool_;
  LanguageModel model_{pool_, testing::small_config(GetParam(), segment), DataType::float64};
  ContrastTotals totals_;
};

TEST_P(ModelContrast, GradientsAreThoseOfCentralDifferencesInEverySchedule) {
  const TokenBatch batch = asked_batch(2, {7, 12, 4});
  const auto [targets, contrast] = expected(batch);
  std::vector<Gradients> all;
  for (const auto& [schedule, recompute] :
       {std::pair{Schedule::parallel, Recompute::none}, std::pair{Schedule::sequential, Recompute::segment}}) {
    all.push_back(gradients(model_, pool_, batch, model_.empty_state(pool_, 2), options(schedule, recompute)));
    EXPECT_NEAR(all.back().loss, targets, 1e-9 * targets);
    EXPECT_NEAR(totals_.loss, contrast, 1e-9 * contrast);
    EXPECT_EQ(totals_.tokens, 2 * 9);
    EXPECT_EQ(totals_.found.all, 6);
    for (std::size_t i = 0; i < all[0].parameters.size(); ++i) {
      EXPECT_LT(testing::relative_difference(all.back().parameters[i].to_doubles(), all[0].parameters[i].to_doubles()),
                1e-9);
    }
  }
  constexpr double step = 1e-5;
  for (const char* name : {"layers.0.self_attn.memory_gate", "layers.1.self_attn.k_proj.weight",
                           "layers.0.self_attn.v_proj.weight", "norm.weight"}) {
    std::size_t index = 0;
    while (model_.parameters().all()[index].name != name) ++index;
    Parameter& parameter = model_.parameters().all()[index];
    const std::vector<double> gradient = all[0].parameters[index].to_doubles();
    const auto loss = [&] {
      const auto [of_targets, of_contrast] = expected(batch);
      return of_targets + weight * of_contrast;
    };
    for (std::size_t i = 0; i < gradient.size(); i += 13) {
      double& value = parameter.master.values<double>()[i];
      const double before = value;
      value = before + step;
      const double above = loss();
      value = before - step;
      const double below = loss();
      value = before;
      EXPECT_NEAR(gradient[i], 0.5 * (above - below) / (2 * step), 1e-6) << name << " " << i;
    }
  }
}

TEST_P(ModelContrast, ReadingBeforehandTakesNoMoreMemoryThanTheScheduleDoes) {
  const TokenBatch batch = asked_batch(2, {120, 120, 120});
  const auto peak = [&](Schedule schedule, Recompute recompute, double of_contrast) {
    MemoryPool pool;
    PassOptions passing = options(schedule, recompute);
    passing.contrast.weight = of_contrast;
    SequenceState state = model_.empty_state(pool, 2);
    model_.parameters().clear_gradients();
    accumulate_gradients(model_, pool, batch, state, passing);
    model_.parameters().clear_gradients();
    return static_cast<double>(pool.statistics().peak_bytes_in_use);
  };
  for (const auto& [schedule, recompute] :
       {std::pair{Schedule::parallel, Recompute::cheap}, std::pair{Schedule::parallel, Recompute::block},
        std::pair{Schedule::sequential, Recompute::none}, std::pair{Schedule::sequential, Recompute::segment}}) {
    EXPECT_LT(peak(schedule, recompute, weight), 1.01 * peak(schedule, recompute, 0));
  }
}

TEST_P(ModelContrast, NoQuerySeesAnotherOrAnotherDocument) {
  const TokenBatch batch = asked_batch(1, {7, 12, 4});
  const std::vector<double> losses = losses_of(batch);
  // Of the second document a token of the first query, and then one of its own.
  for (const auto& [changed, query_too] : {std::pair{25 + 15 + 1, true}, std::pair{25 + 8, false}}) {
    TokenBatch other = batch;
    other.inputs[static_cast<std::size_t>(changed)] = (batch.inputs[static_cast<std::size_t>(changed)] + 1) % 23;
    const std::vector<double> found = losses_of(other);
    std::int64_t differ = 0;
    for (std::size_t i = 0; i < losses.size(); ++i) {
      if (found[i] == losses[i] || batch.queries[i] == 0) continue;
      ++differ;
      EXPECT_EQ(batch.documents[i], 1) << i;
      if (query_too) {
        EXPECT_EQ(batch.queries[i], 1) << i;
      }
    }
    EXPECT_EQ(differ, query_too ? 1 : 9);
  }
}

TEST_P(ModelContrast, LeavesWhatCannotBe) {
  const TokenBatch batch = asked_batch(1, {7, 12, 4});
  SequenceState state = model_.empty_state(pool_, 1);
  PassOptions both = options(Schedule::parallel, Recompute::none);
  both.distillation = {&model_, 0.5, nullptr};
  EXPECT_THROW(accumulate_gradients(model_, pool_, batch, state, both), ConfigError);
  ModelConfig overlapping = model_.config();
  overlapping.attention.overlap = 2;
  EXPECT_THROW(require_contrast(overlapping.attention), ConfigError);
  EXPECT_THROW(require_contrast({.kind = AttentionKind::local}), ConfigError);
}

INSTANTIATE_TEST_SUITE_P(Rules, ModelContrast, ::testing::Values(MemoryUpdate::linear, MemoryUpdate::delta));

/// Two documents that are asked a query of two tokens, and what lies between.
TokenBatch small_batch() {
  TokenBatch batch;
  batch.lanes = 1;
  batch.tokens = 6;
  batch.documents = {0, 0, 0, 1, 1, 1};
  batch.loss_weights = {0.25F, 0, 0, 0, 1, 1};
  batch.queries = {0, 1, 1, 0, 1, 1};
  return batch;
}

TEST(Contrast, WeighsByHowLikelyTheQueryIsAfterEachDocument) {
  ContrastTotals totals;
  // Mean log-likelihoods of -3 after the other document, -2 after the own one: at a temperature of 0.5 shares of
  // 1 / (1 + e^2) and 1 / (1 + e^-2).
  const std::vector<float> weights =
      contrasted_weights(small_batch(), std::vector<double>{9, 2, 4, 9, 1, 3}, {2, 0.5, &totals});
  const double other = 1 / (1 + std::exp(2.0));
  const std::vector<double> expected = {0.25, -4 * other, -4 * other, 0, 1 + 4 * other, 1 + 4 * other};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(weights[i], expected[i], 1e-6) << i;
  EXPECT_NEAR(totals.loss, -2 * std::log(1 - other), 1e-12);
  EXPECT_EQ(totals.tokens, 2);
  EXPECT_EQ(totals.found.right, 1);
  contrasted_weights(small_batch(), std::vector<double>{9, 1, 3, 9, 1, 3}, {2, 0.5, &totals});
  EXPECT_EQ(totals.found.right, 1) << "no document is likelier than the own one, and it is no likelier itself";
  EXPECT_EQ(totals.found.all, 2);
}

TEST(Contrast, WhatIsNoContrastIsRefused) {
  const std::vector<double> losses(6, 1.0);
  TokenBatch batch = small_batch();
  EXPECT_THROW(contrasted_weights(batch, std::vector<double>(5, 1.0), {1, 1, nullptr}), ShapeError);
  batch.loss_weights = {0, 0, 0, 0, 0, 0};
  EXPECT_THROW(contrasted_weights(batch, losses, {1, 1, nullptr}), ShapeError) << "nobody's query";
  batch.loss_weights = {0, 1, 1, 0, 1, 1};
  EXPECT_THROW(contrasted_weights(batch, losses, {1, 1, nullptr}), ShapeError) << "of two documents";
  batch = small_batch();
  batch.queries[1] = 0;
  EXPECT_THROW(contrasted_weights(batch, losses, {1, 1, nullptr}), ShapeError) << "of one token and of two";
}

}  // namespace
}  // namespace palimpsest
