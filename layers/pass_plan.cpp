#include "layers/pass_plan.h"

#include <algorithm>
#include <array>
#include <utility>
namespace palimpsest {

namespace {

/// Bytes one layer keeps for a token.
std::int64_t kept_per_token(const ModelConfig& c, DataType type, bool cheap) {
  const std::int64_t queries = c.num_heads * c.head_size, keys = c.num_kv_heads * c.head_size;
  const std::int64_t statistics = 4 * (c.num_heads + 2);  // log-sum-exp and the norms' inverse roots
  std::int64_t elements = 2 * c.hidden_size + queries * 3 + keys * 2 + 2 * c.ffn_size;
  if (!cheap) elements += 2 * c.hidden_size + queries + c.ffn_size;
  return elements * static_cast<std::int64_t>(size_of(type)) + statistics;
}

/// Bytes of one layer's memory after each segment of a lane.
std::int64_t states_per_lane(const ModelConfig& c, std::int64_t segments) {
  return (segments + 1) * c.num_kv_heads * c.head_size * (c.head_size + 1) * 4;
}

}  // namespace

std::int64_t pass_bytes(const ModelConfig& c, std::int64_t lanes, std::int64_t tokens, DataType type, Schedule schedule,
                        Recompute recompute) {
  const std::int64_t segments = (tokens + c.segment_length - 1) / c.segment_length;
  const std::int64_t element = static_cast<std::int64_t>(size_of(type));
  const bool sequential = schedule == Schedule::sequential || recompute == Recompute::segment;
  // Rows that a pass holds at once, and those whose gradients are under way.
  const std::int64_t held_rows = lanes * (recompute == Recompute::segment ? c.segment_length : tokens);
  const std::int64_t moving_rows = lanes * (sequential ? c.segment_length : tokens);
  const std::int64_t states = lanes * c.num_layers * states_per_lane(c, segments);
  const std::int64_t gradients = moving_rows * element * (3 * c.ffn_size + 4 * c.hidden_size);
  const std::int64_t logits = 2 * 4 * (std::int64_t{8} << 20);
  std::int64_t kept = c.num_layers * held_rows * kept_per_token(c, type, recompute == Recompute::cheap);
  if (recompute == Recompute::block) {
    kept = c.num_layers * held_rows * c.hidden_size * element + moving_rows * kept_per_token(c, type, false);
  }
  return kept + states + gradients + logits;
}

PassPlan plan_pass(const ModelConfig& config, std::int64_t lanes, std::int64_t tokens, DataType type, Schedule schedule,
                   Recompute recompute, std::int64_t budget) {
  constexpr std::array<std::pair<Schedule, Recompute>, 3> choices = {{{Schedule::parallel, Recompute::cheap},
                                                                      {Schedule::parallel, Recompute::block},
                                                                      {Schedule::sequential, Recompute::segment}}};
  PassPlan plan{};
  for (const auto& [by_schedule, by_recompute] : choices) {
    plan.schedule = schedule == Schedule::automatic ? by_schedule : schedule;
    plan.recompute = recompute == Recompute::automatic ? by_recompute : recompute;
    if (plan.recompute == Recompute::segment) plan.schedule = Schedule::sequential;
    plan.bytes = pass_bytes(config, lanes, tokens, type, plan.schedule, plan.recompute);
    if (plan.bytes <= budget) break;
    // A parallel schedule that was asked for cannot recompute segments: blocks are the last resort.
    if (schedule == Schedule::parallel && plan.recompute == Recompute::block) break;
  }
  return plan;
}

}  // namespace palimpsest
