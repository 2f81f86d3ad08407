#include "layers/attention/registry.h"

#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "layers/attention/full_attention.h"
#include "layers/attention/infini_attention.h"
#include "layers/attention/local_attention.h"
#include "layers/attention/memorizing_attention.h"
#include "layers/attention/recurrent_memory_attention.h"
#include "layers/attention/transformer_xl_attention.h"

namespace palimpsest {

const AttentionTraits& traits_of(AttentionKind kind) {
  switch (kind) {
    case AttentionKind::local: return local_attention_traits;
    case AttentionKind::full: return full_attention_traits;
    case AttentionKind::transformer_xl: return transformer_xl_attention_traits;
    case AttentionKind::recurrent_memory: return recurrent_memory_attention_traits;
    case AttentionKind::memorizing: return memorizing_attention_traits;
    case AttentionKind::infini: break;
  }
  return infini_attention_traits;
}

AttentionKind kind_of_layer(const ModelConfig& config, std::int64_t layer) {
  const AttentionConfig& attention = config.attention;
  const bool apart = attention.kind == AttentionKind::memorizing && layer != attention.memory_layer;
  return apart ? AttentionKind::local : attention.kind;
}

std::string describe_kept_numbers(const ModelConfig& config) {
  const AttentionTraits& traits = traits_of(config.attention.kind);
  if (!traits.constant_state) return fmt::format("{} numbers a token", traits.kept_numbers(config, 1));
  const std::int64_t most = traits.kept_numbers(config, std::numeric_limits<std::int64_t>::max());
  return most == 0 ? "nothing" : fmt::format("{} numbers a sequence", most);
}

void require_schedule(AttentionKind kind, Schedule schedule) {
  const AttentionTraits& traits = traits_of(kind);
  if (schedule == Schedule::parallel && !traits.parallel_segments) {
    throw ConfigError(
        fmt::format("train.schedule is parallel, but the segments of model.attention.kind: {} follow each other; set "
                    "it to sequential or automatic",
                    traits.name));
  }
}

void require_carriable(AttentionKind kind, bool carry_memory) {
  const AttentionTraits& traits = traits_of(kind);
  if (carry_memory && !traits.constant_state) {
    throw ConfigError(
        fmt::format("train.carry_memory is true, but what model.attention.kind: {} carries grows with every "
                    "step of a document; set it to false",
                    traits.name));
  }
}

void require_shareable(AttentionKind kind, std::int64_t ranks) {
  const AttentionTraits& traits = traits_of(kind);
  if (ranks > 1 && !traits.shares_sequences) {
    throw ConfigError(
        fmt::format("train.sequence_ranks is {}, but ranks cannot share sequences of "
                    "model.attention.kind: {}; set it to 1",
                    ranks, traits.name));
  }
}

}  // namespace palimpsest
