// Learning from a frozen model: the loss is what logits of both models say, gradients are those of central differences,
// in every schedule.
#include <cmath>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/layers/model_gradients.h"
#include "tests/layers/random_batch.h"
#include "tests/small_config.h"
#include "tests/tensors.h"
#include "tests/thread_ranks.h"

namespace palimpsest {
namespace {

using testing::Gradients;
using testing::gradients;
using testing::random_batch;

constexpr double share = 0.3;

std::vector<double> log_softmax(std::span<const double> logits) {
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit);
  std::vector<double> logs;
  for (const double logit : logits) logs.push_back(logit - std::log(sum));
  return logs;
}

class ModelDistillation : public ::testing::Test {
 protected:
  ModelDistillation() {
    model_.initialize(3);
    teacher_.initialize(4);
  }
  static ModelConfig with_attention(AttentionKind kind) {
    ModelConfig config = testing::small_config(MemoryUpdate::delta);
    config.attention.kind = kind;
    return config;
  }
  PassOptions options(Schedule schedule, Recompute recompute) {
    return {
        .schedule = schedule, .recompute = recompute, .loss_scale = 0.5, .distillation = {&teacher_, share, &totals_}};
  }

  /// The loss of the batch after what is carried, as logits of both models have it.
  double expected(const TokenBatch& batch, SequenceState carried) {
    const std::vector<double> of_model = logits(model_, pool_, batch, carried).to_doubles();
    SequenceState empty = teacher_.empty_state(pool_, batch.lanes);
    const std::vector<double> of_teacher = logits(teacher_, pool_, batch, empty).to_doubles();
    const auto vocabulary = static_cast<std::size_t>(model_.config().vocab_size);
    double loss = 0, divergence = 0;
    for (std::size_t i = 0; i < batch.targets.size(); ++i) {
      const auto weight = static_cast<double>(batch.loss_weights[i]);
      const auto log_p = log_softmax(std::span(of_model).subspan(i * vocabulary, vocabulary));
      const auto log_q = log_softmax(std::span(of_teacher).subspan(i * vocabulary, vocabulary));
      loss -= weight * log_p[static_cast<std::size_t>(batch.targets[i])];
      for (std::size_t v = 0; v < vocabulary; ++v) divergence += weight * std::exp(log_q[v]) * (log_q[v] - log_p[v]);
    }
    loss_ = loss;
    divergence_ = divergence;
    return (1 - share) * loss + share * divergence;
  }

  MemoryPool pool_;
  LanguageModel model_{pool_, with_attention(AttentionKind::infini), DataType::float64};
  LanguageModel teacher_{pool_, with_attention(AttentionKind::full), DataType::float64};
  DistillationTotals totals_;
  double loss_ = 0, divergence_ = 0;
};

TEST_F(ModelDistillation, IsWhatTheLogitsSayInEverySchedule) {
  // Two lanes of three segments and a half, with a document that begins inside one, after a memory that was carried.
  const TokenBatch first = random_batch(2, 10, 23, {4});
  TokenBatch batch = random_batch(2, 18, 23, {7}, 6);
  for (auto& document : batch.documents) document += first.documents.back();
  SequenceState carried = model_.empty_state(pool_, 2);
  token_losses(model_, pool_, first, carried);
  const double loss = expected(batch, carried);
  ASSERT_GT(divergence_, 0.01 * loss_);
  std::vector<Gradients> all;
  for (const auto& [schedule, recompute] :
       {std::pair{Schedule::parallel, Recompute::none}, std::pair{Schedule::parallel, Recompute::block},
        std::pair{Schedule::sequential, Recompute::none}, std::pair{Schedule::sequential, Recompute::segment}}) {
    totals_ = {};
    all.push_back(gradients(model_, pool_, batch, carried, options(schedule, recompute)));
    EXPECT_NEAR(all.back().loss, loss, 1e-9 * loss);
    EXPECT_NEAR(totals_.loss, loss_, 1e-9 * loss_);
    EXPECT_NEAR(totals_.divergence, divergence_, 1e-9 * divergence_);
    for (std::size_t i = 0; i < all[0].parameters.size(); ++i) {
      EXPECT_LT(testing::relative_difference(all.back().parameters[i].to_doubles(), all[0].parameters[i].to_doubles()),
                1e-9)
          << name_of(schedule) << " " << name_of(recompute) << " " << model_.parameters().all()[i].name;
    }
  }
  for (const Parameter& parameter : teacher_.parameters()) EXPECT_FALSE(parameter.variable.has_gradient());
}

TEST_F(ModelDistillation, GradientsAreThoseOfCentralDifferences) {
  const TokenBatch batch = random_batch(1, 13, 23, {3});
  const SequenceState empty = model_.empty_state(pool_, 1);
  const Gradients actual = gradients(model_, pool_, batch, empty, options(Schedule::sequential, Recompute::segment));
  constexpr double step = 1e-5;
  for (const char* name : {"layers.0.self_attn.memory_gate", "layers.1.self_attn.memory_gate", "norm.weight"}) {
    std::size_t index = 0;
    while (model_.parameters().all()[index].name != name) ++index;
    Parameter& parameter = model_.parameters().all()[index];
    const std::vector<double> gradient = actual.parameters[index].to_doubles();
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      double& value = parameter.master.values<double>()[i];
      const double before = value;
      value = before + step;
      const double above = expected(batch, empty);
      value = before - step;
      const double below = expected(batch, empty);
      value = before;
      EXPECT_NEAR(gradient[i], 0.5 * (above - below) / (2 * step), 1e-7) << name << " " << i;
    }
  }
}

/// A model with the teacher's weights differs from it where its segments cut off what the teacher sees, and nowhere
/// else.
TEST_F(ModelDistillation, WithinASegmentTheSameWeightsDoNotDiverge) {
  for (const Parameter& parameter : teacher_.parameters()) {
    copy(parameter.master, model_.parameters().find(parameter.name).master);
  }
  const auto divergence = [&](std::int64_t tokens) {
    totals_ = {};
    gradients(model_, pool_, random_batch(2, tokens, 23, {}), model_.empty_state(pool_, 2),
              options(Schedule::parallel, Recompute::cheap));
    return totals_.divergence;
  };
  EXPECT_NEAR(divergence(5), 0, 1e-10);
  EXPECT_GT(divergence(10), 1e-4);
}

TEST_F(ModelDistillation, RanksThatShareASequenceHaveNoTeacher) {
  ThreadRanks ranks(2);
  ranks.run([&](Communicator& communicator) {
    MemoryPool pool;
    LanguageModel model(pool, model_.config(), DataType::float64);
    SequenceState state = model.empty_state(pool, 1);
    PassOptions shared = options(Schedule::parallel, Recompute::cheap);
    shared.sequence_ranks = &communicator;
    EXPECT_THROW(accumulate_gradients(model, pool, random_batch(1, 20, 23, {}), state, shared), ConfigError);
  });
}

}  // namespace
}  // namespace palimpsest
