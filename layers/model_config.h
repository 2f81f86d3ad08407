// The hyperparameters that fix a model's shape and mathematics (docs/design.md, "The model").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/data_type.h"
#include "core/kernels/memory_features.h"
#include "core/kernels/rotary_scaling.h"

namespace palimpsest {

/// How a segment is written to the memory (Munkhdalai et al. 2024, section 2.1.2).
enum class MemoryUpdate { linear, delta };
/// What a token attends with while its document has nothing in memory.
enum class EmptyMemory { local, gated };

/// What a read of the memory is divided by: its norm z, or its own root mean square.
enum class MemoryReadout { normalized, rms };
/// Which of a token's projections asks the memory.
enum class MemoryQuery { query, key };
/// How the gate joins what the memory gave with local attention: a weighted mean, or local attention plus a share.
enum class GateKind { mix, add };

/// Infini-attention, attention within segments alone, causal attention over the whole sequence, and what
/// Infini-attention is compared with: Transformer-XL, the Recurrent Memory Transformer and the Memorizing Transformer.
enum class AttentionKind { infini, local, full, transformer_xl, recurrent_memory, memorizing };

/// The attention of every block: its kind and the options of that kind.
struct AttentionConfig {
  AttentionKind kind = AttentionKind::infini;
  // Of kind infini.
  MemoryUpdate memory_update = MemoryUpdate::linear;
  EmptyMemory empty_memory = EmptyMemory::local;
  double memory_epsilon = 1e-6;
  double initial_gate = 0.0;  // beta at the start: sigmoid(0) = one half memory, one half local; of memorizing, too
  GateKind gate = GateKind::mix;
  MemoryReadout memory_readout = MemoryReadout::normalized;
  bool memory_decay = false;  // whether a learned share of the memory goes on from segment to segment, or all of it
  MemoryFeatures memory_features = MemoryFeatures::elu;
  MemoryQuery memory_query = MemoryQuery::query;
  bool memory_shift = false;  // whether a value is written under the key of the token before it, or of its own
  std::int64_t overlap = 0;   // tokens in front of a segment that its local attention sees as well
  // Of kind transformer_xl.
  std::int64_t cache_length = 0;  // tokens; 0: segment_length
  bool cache_gradient = false;
  // Of kind recurrent_memory.
  std::int64_t memory_tokens = 32;
  // Of kind memorizing.
  std::int64_t memory_layer = -1;  // -1: three quarters up
  std::int64_t top_k = 32;
  std::int64_t store_size = 8192;  // tokens

  bool operator==(const AttentionConfig&) const = default;
};

/// Low-rank changes of projections, W + (alpha / rank) B A (LoRA: Hu et al. 2021, arXiv 2106.09685).
struct LoraConfig {
  std::int64_t rank = 0;  // 0: none
  double alpha = 16;
  std::vector<std::string> projections;  // by the last part of their names; empty: q_proj and v_proj

  /// Resolved: whether it changes the projections of this name.
  bool changes(std::string_view projection) const;
  double scale() const { return alpha / static_cast<double>(rank); }
  bool operator==(const LoraConfig&) const = default;
};

struct ModelConfig {
  std::int64_t vocab_size = 0;  // 0: the tokenizer's
  std::int64_t hidden_size = 512;
  std::int64_t num_layers = 8;
  std::int64_t num_heads = 8;
  std::int64_t num_kv_heads = 0;  // 0: num_heads
  std::int64_t head_size = 0;     // 0: hidden_size / num_heads
  std::int64_t ffn_size = 1536;
  std::int64_t segment_length = 512;
  AttentionConfig attention;
  double norm_epsilon = 1e-5;
  double rope_theta = 10000.0;
  RotaryScaling rope_scaling;
  bool qkv_bias = false;  // added to queries, keys and values: Qwen2
  bool qk_norm = false;   // RMSNorm of each head's queries and keys, before RoPE: Qwen3
  LoraConfig lora;
  bool tie_embeddings = false;
  double initializer_range = 0.02;

  /// The same with derived values (0) filled in. Throws ConfigError on values that do not fit together.
  ModelConfig resolved() const;
  /// Parameters of this shape.
  std::int64_t parameters() const;
  bool operator==(const ModelConfig&) const = default;
};

}  // namespace palimpsest
