#include "layers/pass_plan.h"

#include <algorithm>
#include <array>
#include <utility>

#include "autograd/ops/cross_entropy.h"
#include "layers/attention/registry.h"
#include "layers/product_scratch.h"

namespace palimpsest {

// Backward holds most either at its start, when the head has logits, or in the last layer's feed-forward or attention,
// when the layers before still keep everything.
std::int64_t pass_bytes(const ModelConfig& c, std::int64_t lanes, std::int64_t tokens, DataType type, Schedule schedule,
                        Recompute recompute) {
  const std::int64_t element = static_cast<std::int64_t>(size_of(type)), layers = c.num_layers;
  const std::int64_t hidden = c.hidden_size, ffn = c.ffn_size;
  const std::int64_t segments = (tokens + c.segment_length - 1) / c.segment_length;
  const bool by_segments = recompute == Recompute::segment, by_blocks = recompute == Recompute::block;
  const bool sequential = schedule == Schedule::sequential || by_segments;
  const std::int64_t run = std::min(tokens, sequential ? c.segment_length : tokens);
  const AttentionTraits& traits = traits_of(c.attention.kind);
  const AttentionBytes of_attention = traits.bytes(c, {lanes, tokens, segments, element, run});
  // Rows that go through the layers together, and rows whose values are kept.
  const std::int64_t beside = traits.rows_beside_segment ? traits.rows_beside_segment(c) : 0;
  const std::int64_t moving_rows = lanes * (sequential ? run + beside : tokens + segments * beside);
  const std::int64_t kept_rows = by_segments ? moving_rows : lanes * (tokens + segments * beside);

  // Of a token in a layer: what is cheap to compute again (norms, what attention says, product of the feed-forward's
  // gate) and the rest.
  const bool discards = recompute == Recompute::cheap || by_blocks;
  const std::int64_t cheap = discards ? 0 : element * (2 * hidden + ffn) + of_attention.cheap;
  const std::int64_t feed_forward = element * (2 * ffn + hidden);
  // Log-sum-exp and the norms' inverse roots; queries and keys before their own norms.
  const std::int64_t normalised = c.qk_norm ? c.num_heads + c.num_kv_heads : 0;
  const std::int64_t statistics = 4 * (c.num_heads + 2 + normalised) + element * normalised * c.head_size;
  const std::int64_t attention = of_attention.kept - of_attention.cheap + element * hidden + statistics;
  const std::int64_t layer = attention + feed_forward + cheap;
  const std::int64_t stream = element * hidden;
  // Of the segments that have gone before, the head keeps what it read.
  const std::int64_t kept =
      kept_rows * (stream + layers * (by_blocks ? stream : layer)) + (kept_rows - moving_rows) * stream;

  // What comes on top for a token: of the head, and of the last layer, whose output has gone by then.
  const std::int64_t recomputed = by_blocks ? layer - stream : 0;
  const std::int64_t in_feed_forward = recomputed + element * (discards ? 2 * ffn : ffn);
  const std::int64_t in_attention = recomputed + of_attention.working - (feed_forward - stream);
  const std::int64_t logits = std::min(moving_rows, head_block_rows(c.vocab_size)) * c.vocab_size *
                              static_cast<std::int64_t>(sizeof(float) + (type == DataType::bfloat16 ? element : 0));
  const std::int64_t moving =
      std::max(moving_rows * 2 * stream + logits, moving_rows * std::max(in_feed_forward, in_attention));

  // The state before each segment and after the last, of all layers or of the one at work; gradients of one layer's,
  // or of all layers' around a segment.
  const std::int64_t made = sequential || traits.state_before_segments ? segments : 1;
  std::int64_t states = layers * (made + 1) + (sequential ? 3 * layers : made);
  if (by_blocks && !sequential) states = 2 * layers + 2 * made;
  const std::int64_t carried = layers * ((sequential ? segments : 1) + 1) * of_attention.carried;
  return kept + moving + states * of_attention.state + carried + of_attention.once +
         product_scratch_bytes(c, moving_rows, type, Products::forward_and_backward);
}

std::int64_t state_bytes(const ModelConfig& config, std::int64_t lanes, DataType type) {
  const std::int64_t element = static_cast<std::int64_t>(size_of(type));
  const AttentionBytes bytes =
      traits_of(config.attention.kind).bytes(config, {lanes, config.segment_length, 1, element, config.segment_length});
  return config.num_layers * (bytes.state + bytes.carried);
}

std::int64_t lesson_bytes(const ModelConfig& teacher, std::int64_t lanes, std::int64_t tokens, DataType type) {
  const std::int64_t rows = lanes * tokens,
                     logits = std::min(rows, head_block_rows(teacher.vocab_size)) * teacher.vocab_size;
  // By segments once more, when a segment's rows do not lie together.
  return 2 * rows * teacher.hidden_size * static_cast<std::int64_t>(size_of(type)) +
         logits * static_cast<std::int64_t>(size_of(accumulate_type(type)));
}

std::int64_t teacher_bytes(const ModelConfig& teacher, std::int64_t lanes, std::int64_t tokens, DataType type) {
  const std::int64_t said = lanes * tokens * teacher.hidden_size * static_cast<std::int64_t>(size_of(type));
  return said + forward_bytes(teacher, 1, tokens, 0, type, /*keeps_state=*/false);
}

PassPlan plan_pass(const ModelConfig& config, std::int64_t lanes, std::int64_t tokens, DataType type, Schedule schedule,
                   Recompute recompute, std::int64_t budget) {
  constexpr std::array<std::pair<Schedule, Recompute>, 3> choices = {{{Schedule::parallel, Recompute::cheap},
                                                                      {Schedule::parallel, Recompute::block},
                                                                      {Schedule::sequential, Recompute::segment}}};
  PassPlan plan{};
  require_schedule(config.attention.kind, schedule);
  if (!traits_of(config.attention.kind).parallel_segments) schedule = Schedule::sequential;
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

// Nothing is kept but the states, so a pass holds most in a layer's attention, in its feed-forward, or in the head.
std::int64_t forward_bytes(const ModelConfig& c, std::int64_t lanes, std::int64_t tokens, std::int64_t read,
                           DataType type, bool keeps_state) {
  const std::int64_t element = static_cast<std::int64_t>(size_of(type));
  const std::int64_t hidden = c.hidden_size, ffn = c.ffn_size;
  const std::int64_t keys = c.num_kv_heads * c.head_size;
  const std::int64_t segments = (tokens + c.segment_length - 1) / c.segment_length;
  const AttentionTraits& attention = traits_of(c.attention.kind);
  const std::int64_t beside = attention.rows_beside_segment ? attention.rows_beside_segment(c) : 0;
  const bool at_once = attention.parallel_segments;
  const std::int64_t all_rows = lanes * tokens, outputs = all_rows * element * hidden;
  // Those that go through the layers together.
  const std::int64_t rows = at_once ? all_rows : lanes * (std::min(tokens, c.segment_length) + beside);
  const AttentionBytes bytes = attention.bytes(c, {lanes, read + tokens, segments, element, tokens});

  // The stream before and after attention and the norm's output; key and value last as long as the layer.
  const std::int64_t in_attention = element * 3 * hidden + bytes.kept;
  const std::int64_t in_feed_forward = element * (4 * hidden + 2 * keys + std::max(3 * ffn, ffn + hidden));
  const std::int64_t logits = std::min(all_rows, head_block_rows(c.vocab_size)) * c.vocab_size *
                              static_cast<std::int64_t>(size_of(accumulate_type(type)));
  const std::int64_t moving =
      std::max(rows * std::max(in_attention, in_feed_forward) + (at_once ? 0 : outputs), outputs + logits);

  // The states before and after the pass, and of the layer at work those before each segment, or a state that grows.
  const std::int64_t ends = keeps_state ? 2 * c.num_layers : 0;
  const std::int64_t states =
      ends + (attention.constant_state && attention.state_before_segments && at_once ? segments : 1);
  return moving + states * bytes.state + ends * bytes.carried + product_scratch_bytes(c, rows, type, Products::forward);
}

ForwardPlan plan_forward(const ModelConfig& config, std::int64_t most_lanes, std::int64_t most_tokens,
                         std::int64_t most_read, DataType type, std::int64_t budget) {
  const std::int64_t segment = config.segment_length;
  // The largest number up to `most` that fits: bytes grow with lanes and with tokens.
  const auto largest = [budget](std::int64_t most, const auto& bytes) {
    std::int64_t fits = 1, too_many = std::max<std::int64_t>(most, 1) + 1;
    while (too_many - fits > 1) {
      const std::int64_t middle = fits + (too_many - fits) / 2;
      (bytes(middle) <= budget ? fits : too_many) = middle;
    }
    return fits;
  };
  const std::int64_t lanes =
      largest(most_lanes, [&](std::int64_t n) { return forward_bytes(config, n, segment, most_read, type); });
  const std::int64_t segments = largest(most_tokens / segment, [&](std::int64_t n) {
    return forward_bytes(config, lanes, n * segment, most_read, type);
  });
  return {lanes, segments * segment, forward_bytes(config, lanes, segments * segment, most_read, type)};
}

}  // namespace palimpsest
