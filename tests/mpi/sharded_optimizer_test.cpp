// An optimiser whose state is shared out over ranks: the bits of one that is not, at a fraction of its memory.
#include <gtest/gtest.h>

#include "core/comm/communication_counter.h"
#include "optim/gradient_norm.h"
#include "optim/gradient_reducer.h"
#include "optim/sharded_update.h"
#include "tests/mpi/job.h"
#include "tests/optim/test_parameters.h"

namespace palimpsest {
namespace {

/// Parameters after three steps of gradients that differ from rank to rank, and what that took.
struct Trained {
  Trained(bool sharded, DataType compute_type, const std::string& frozen = "") {
    add_every_role(parameters, pool, DataType::float32, compute_type);
    if (!frozen.empty()) parameters.find(frozen).variable.set_requires_gradient(false);
    const ParameterShares shares =
        sharded ? ParameterShares(parameters, job().rank(), job().size()) : ParameterShares();
    OptimizerConfig config;
    config.decay_toward_initial = 0.5;
    const auto optimizer = make_optimizer(config, parameters, pool, shares);
    state_bytes = optimizer->state_bytes();
    CommunicationCounter counter;
    const CommunicationObservation observation(job(), counter);
    GradientReducer reducer(parameters, job(), pool, {}, shares);
    ShardedUpdate update(*optimizer, parameters, job());
    for (std::uint64_t step = 1; step <= 3; ++step) {
      parameters.clear_gradients();
      set_random_gradients(parameters, pool, 10 * step + static_cast<std::uint64_t>(job().rank()));
      GradientNorm norm(parameters, job());
      reducer.finish([&](std::size_t index) { norm.add(index); });
      const double scale = clip_factor(norm.total(), 1.0);
      update.update({.model = 0.01, .memory_gate = 0.1}, scale);
      // Asked for one by one, not at all, and all at once.
      if (step == 1) update.wait_for(2, 3);
    }
    update.wait_for_all();
    bytes_sent = counter.counts().bytes();
  }
  MemoryPool pool;
  ParameterList parameters;
  std::size_t state_bytes;
  std::int64_t bytes_sent;
};

TEST(ShardedOptimizer, HasTheBitsOfAWholeOne) {
  for (const DataType compute_type : {DataType::float32, DataType::bfloat16}) {
    Trained whole(false, compute_type), sharded(true, compute_type);
    const std::string bytes = bytes_of(whole.parameters);
    EXPECT_TRUE(bytes_of(sharded.parameters) == bytes) << name_of(compute_type);
    for (const auto& other : job().all_gather(std::as_bytes(std::span(bytes)))) {
      EXPECT_TRUE(std::ranges::equal(other, std::as_bytes(std::span(bytes)))) << "ranks differ";
    }
  }
}

TEST(ShardedOptimizer, KeepsAShareOfTheStateAndSendsNoMore) {
  const Trained whole(false, DataType::float32), sharded(true, DataType::float32);
  EXPECT_NEAR(static_cast<double>(sharded.state_bytes) / static_cast<double>(whole.state_bytes), 1.0 / job().size(),
              0.01);
  EXPECT_NEAR(static_cast<double>(sharded.bytes_sent) / static_cast<double>(whole.bytes_sent), 1.0, 0.01);
}

TEST(ShardedOptimizer, SendsNothingOfFrozenParameters) {
  const std::string frozen = "layers.0.self_attn.q_proj.weight";
  Trained all(true, DataType::float32), whole(false, DataType::float32, frozen), some(true, DataType::float32, frozen);
  EXPECT_TRUE(bytes_of(whole.parameters) == bytes_of(some.parameters));
  const double share = 301.0 * 127 / (301.0 * 127 + 517 * 129);  // the embedding's, of both
  EXPECT_NEAR(static_cast<double>(some.bytes_sent) / static_cast<double>(all.bytes_sent), share, 0.01);
  EXPECT_NEAR(static_cast<double>(whole.bytes_sent) / static_cast<double>(all.bytes_sent), share, 0.01);
}

TEST(ShardedOptimizer, ItsStatesMakeUpTheWholeOnes) {
  MemoryPool pool;
  ParameterList parameters;
  add_every_role(parameters, pool, DataType::float32, DataType::float32);
  const auto optimizer = make_optimizer({}, parameters, pool, {parameters, job().rank(), job().size()});
  optimizer->visit_state([&](const std::string& name, Tensor& state, const Optimizer::StatePlace& place) {
    std::int64_t elements = state.elements();
    if (place.cut) job().all_reduce_sum(std::span(&elements, 1));
    EXPECT_EQ(elements, place.whole.elements()) << name;
    EXPECT_EQ(place.begin, place.cut
                               ? static_cast<std::int64_t>(
                                     share_of(static_cast<std::size_t>(elements), job().rank(), job().size()).begin)
                               : 0)
        << name;
  });
}

TEST(ShardedOptimizer, AdafactorIsRefused) {
  MemoryPool pool;
  ParameterList parameters;
  add_every_role(parameters, pool, DataType::float32, DataType::float32);
  OptimizerConfig config;
  config.kind = OptimizerKind::adafactor;
  EXPECT_THROW(make_optimizer(config, parameters, pool, {parameters, job().rank(), job().size()}), ConfigError);
}

}  // namespace
}  // namespace palimpsest
