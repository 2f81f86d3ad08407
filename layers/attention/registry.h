// The kinds of attention: how each is made, and what is known of it without a model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "layers/attention/attention.h"
#include "layers/attention/model_memory.h"
#include "layers/model_config.h"
#include "layers/parameter_factory.h"

namespace palimpsest {

/// The sizes of a pass by which its memory is estimated.
struct PassSize {
  std::int64_t lanes = 0;
  std::int64_t tokens = 0;    // of a lane
  std::int64_t segments = 0;  // of a lane
  std::int64_t element = 0;   // bytes of an activation
  std::int64_t run = 0;       // tokens of a lane that pass together: a segment's or all
};

/// Bytes that a layer's attention needs in a pass with gradients, beside its input.
struct AttentionBytes {
  std::int64_t kept = 0;     // for backward, of a token
  std::int64_t cheap = 0;    // of these, what can be computed again at little cost
  std::int64_t working = 0;  // on top while backward is in the layer, of a token
  std::int64_t state = 0;    // of one state, all lanes, mean over the layers
  std::int64_t once = 0;     // in one layer alone, beside what the means say
  std::int64_t carried = 0;  // of what there is besides before and after each run, all lanes
};

struct AttentionTraits {
  std::string_view name;  // in configurations
  /// The layer's attention; its parameters are named `prefix` + "q_proj.weight" and so on. `config` is resolved.
  std::unique_ptr<Attention> (*make)(const ModelConfig& config, const std::string& prefix, ParameterFactory& factory);
  /// Whether ranks can share a sequence.
  bool shares_sequences;
  /// Whether what it carries has a fixed size: else a run cannot carry it from step to step.
  bool constant_state;
  /// Whether the segments of a sequence can be computed at once, layer by layer: else the first layer needs what the
  /// last one has made of the segment before, and they follow each other.
  bool parallel_segments = true;
  /// Whether a pass over several segments at once makes the state before each of them: else those before and after it.
  bool state_before_segments = true;
  /// Parameters beside the four projections of each layer, of all layers together.
  std::int64_t (*parameters)(const ModelConfig& config);
  /// Positions of RoPE that a pass over `tokens` tokens needs when a lane has read `before` of their document.
  std::int64_t (*rotary_positions)(const ModelConfig& config, std::int64_t before, std::int64_t tokens);
  /// FLOPs of a layer per token in forward, the projections' not counted, mean over a document of `tokens` tokens and
  /// over the layers.
  double (*flops)(const ModelConfig& config, std::int64_t tokens);
  AttentionBytes (*bytes)(const ModelConfig& config, const PassSize& size);
  /// Numbers that all layers keep of a sequence, after so many tokens of its document, for what comes next: its memory,
  /// as Munkhdalai et al. 2024 count it (table 2).
  std::int64_t (*kept_numbers)(const ModelConfig& config, std::int64_t tokens);
  /// What stands around all layers; null for the kinds whose layers carry what they carry by themselves.
  std::unique_ptr<ModelMemory> (*make_model_memory)(const ModelConfig& config, ParameterFactory& factory) = nullptr;
  /// Rows that pass through the layers with each segment beside its tokens.
  std::int64_t (*rows_beside_segment)(const ModelConfig& config) = nullptr;
};

const AttentionTraits& traits_of(AttentionKind kind);

/// The attention of a layer where not all of a model's are alike.
AttentionKind kind_of_layer(const ModelConfig& config, std::int64_t layer);

/// What `kept_numbers` says of long documents, in words: "1584 numbers a sequence", "768 numbers a token" or "nothing".
std::string describe_kept_numbers(const ModelConfig& config);

/// Throws ConfigError when steps are to carry a state that grows.
void require_carriable(AttentionKind kind, bool carry_memory);

/// Throws ConfigError when the segments of a sequence are to be computed at once and cannot be.
void require_schedule(AttentionKind kind, Schedule schedule);

/// Throws ConfigError unless `ranks` ranks can share a sequence of this kind of attention.
void require_shareable(AttentionKind kind, std::int64_t ranks);

}  // namespace palimpsest
