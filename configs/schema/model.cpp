// The keys of `model`.
#include "configs/schema.h"

namespace palimpsest {

using namespace schema;

void describe(AttentionConfig& attention, SchemaVisitor& visitor) {
  visitor.field("kind", attention.kind,
                Choices{Choice{"infini", AttentionKind::infini}, Choice{"local", AttentionKind::local},
                        Choice{"full", AttentionKind::full}, Choice{"transformer_xl", AttentionKind::transformer_xl},
                        Choice{"recurrent_memory", AttentionKind::recurrent_memory},
                        Choice{"memorizing", AttentionKind::memorizing}},
                "`infini`: within segments, joined by the memory; `local`: within segments alone; `full`: over the "
                "whole sequence; `transformer_xl`: also over the cached keys and values before the segment; "
                "`recurrent_memory`: within segments, between memory tokens that go on to the next; `memorizing`: "
                "within segments, one layer also looks up the nearest keys in a store.");
  visitor.options_of("infini", attention.kind == AttentionKind::infini, [&](SchemaVisitor& options) {
    options.field(
        "memory_update", attention.memory_update,
        Choices{Choice{"linear", MemoryUpdate::linear}, Choice{"delta", MemoryUpdate::delta}},
        "How a segment is written: `linear` adds every value, `delta` first subtracts what the memory already "
        "answers to the key.");
    options.field("empty_memory", attention.empty_memory,
                  Choices{Choice{"local", EmptyMemory::local}, Choice{"gated", EmptyMemory::gated}},
                  "Attention of a token whose document has nothing in memory yet: `local` attention alone, or the "
                  "paper's gated sum with a zero read.");
    options.field("memory_epsilon", attention.memory_epsilon, positive(),
                  "Added to the denominator of a memory read, or to its mean square.");
    options.field("initial_gate", attention.initial_gate, between(-20.0, 20.0),
                  "Initial memory gate β of every head; sigmoid(β) is the share of the memory, so 0 means one half.");
    options.field("gate", attention.gate, Choices{Choice{"mix", GateKind::mix}, Choice{"add", GateKind::add}},
                  "How the gate g joins memory and local attention: `mix` is g of the memory and 1 - g of local "
                  "attention, `add` all of local attention and g of the memory.");
    options.field("memory_readout", attention.memory_readout,
                  Choices{Choice{"normalized", MemoryReadout::normalized}, Choice{"rms", MemoryReadout::rms}},
                  "What a memory read is divided by: `normalized`, the paper's norm; `rms`, its own root mean square, "
                  "and then multiplied by a learned gain.");
    options.field("memory_decay", attention.memory_decay, Boolean{},
                  "Whether a share of the memory goes on from segment to segment, learned for each key/value head, or "
                  "all of it.");
    options.field(
        "memory_features", attention.memory_features,
        Choices{Choice{"elu", MemoryFeatures::elu}, Choice{"identity", MemoryFeatures::identity}},
        "What keys and queries become where they meet the memory: `elu`, the paper's elu(x) + 1, always positive; "
        "`identity`, what they are, so that unlike ones may cancel out. That needs `memory_readout: rms` and "
        "`memory_update: linear`.");
    options.field("memory_query", attention.memory_query,
                  Choices{Choice{"query", MemoryQuery::query}, Choice{"key", MemoryQuery::key}},
                  "What a token asks the memory with: its `query`, as in the paper, or its `key`, which finds what was "
                  "written under like keys without having to learn to.");
    options.field(
        "memory_shift", attention.memory_shift, Boolean{},
        "Whether a value is written to the memory under the key of the token before it, so that a token recalls "
        "what has followed tokens like it, or under its own token's key.");
    options.field("overlap", attention.overlap, between<std::int64_t>(0, max_length),
                  "Tokens in front of a segment, of the same document, that its local attention sees as well; at most "
                  "`segment_length`.");
  });
  visitor.options_of("transformer_xl", attention.kind == AttentionKind::transformer_xl, [&](SchemaVisitor& options) {
    options.field("cache_length", attention.cache_length, between<std::int64_t>(0, max_length),
                  "Tokens before a segment whose keys and values its tokens see. 0: `segment_length`.");
    options.field("cache_gradient", attention.cache_gradient, Boolean{},
                  "Whether gradients flow into cached keys and values, as far as the training sequence reaches.");
  });
  visitor.options_of("recurrent_memory", attention.kind == AttentionKind::recurrent_memory,
                     [&](SchemaVisitor& options) {
                       options.field("memory_tokens", attention.memory_tokens, between<std::int64_t>(1, max_width),
                                     "Memory tokens before and after a segment.");
                     });
  visitor.options_of("memorizing", attention.kind == AttentionKind::memorizing, [&](SchemaVisitor& options) {
    options.field("memory_layer", attention.memory_layer, between<std::int64_t>(-1, 9'999),
                  "The layer that has a store, counted from 0. -1: three quarters of the way up.");
    options.field("top_k", attention.top_k, between<std::int64_t>(1, max_width),
                  "Stored tokens that a head of a token looks up.");
    options.field("store_size", attention.store_size, between<std::int64_t>(1, max_length),
                  "Tokens of the document whose keys and values are stored: the last ones.");
    options.field("initial_gate", attention.initial_gate, between(-20.0, 20.0),
                  "Initial gate β of every head; sigmoid(β) is the share of what was looked up.");
  });
}

void describe(RotaryScaling& scaling, SchemaVisitor& visitor) {
  visitor.field(
      "kind", scaling.kind,
      Choices{Choice{"none", RotaryScalingKind::none}, Choice{"linear", RotaryScalingKind::linear},
              Choice{"llama3", RotaryScalingKind::llama3}},
      "`none`: as `rope_theta` has them; `linear`: all divided by the factor; `llama3`: low frequencies alone, "
      "as in Llama 3.1.");
  for (const auto& [name, kind] :
       {std::pair("linear", RotaryScalingKind::linear), std::pair("llama3", RotaryScalingKind::llama3)}) {
    visitor.options_of(name, scaling.kind == kind, [&](SchemaVisitor& options) {
      options.field("factor", scaling.factor, positive(), "How many times longer the context has become.");
    });
  }
  visitor.options_of("llama3", scaling.kind == RotaryScalingKind::llama3, [&](SchemaVisitor& options) {
    options.field("low_frequency_factor", scaling.low_frequency_factor, positive(),
                  "Frequencies that turn fewer times within the original context are divided.");
    options.field("high_frequency_factor", scaling.high_frequency_factor, positive(),
                  "Frequencies that turn more often are kept; those between are divided in part.");
    options.field("original_length", scaling.original_length, between<std::int64_t>(1, max_length),
                  "Tokens of the original context.");
  });
}

void describe(LoraConfig& lora, SchemaVisitor& visitor) {
  visitor.field("rank", lora.rank, between<std::int64_t>(0, max_width), "Of A and B. 0: no LoRA.");
  visitor.field("alpha", lora.alpha, positive(), "Strength of the change.");
  visitor.texts(
      "projections", lora.projections,
      "Which matrices are changed: of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj. Empty: "
      "q_proj and v_proj.");
}

void describe(ModelConfig& model, SchemaVisitor& visitor) {
  visitor.field("vocab_size", model.vocab_size, between<std::int64_t>(0, max_length),
                "Rows of the embedding. 0: the vocabulary of the tokenizer the data was packed with.");
  visitor.field("hidden_size", model.hidden_size, between<std::int64_t>(1, max_width), "Width of the residual stream.");
  visitor.field("num_layers", model.num_layers, between<std::int64_t>(1, 10'000),
                "Blocks of attention and feed-forward.");
  visitor.field("num_heads", model.num_heads, between<std::int64_t>(1, max_heads), "Query heads of each block.");
  visitor.field("num_kv_heads", model.num_kv_heads, between<std::int64_t>(0, max_heads),
                "Key/value heads, each with a memory of its own; divides `num_heads`. 0: as many as `num_heads`.");
  visitor.field("head_size", model.head_size, between<std::int64_t>(0, 10'000),
                "Width of a head, even. 0: `hidden_size` / `num_heads`.");
  visitor.field("ffn_size", model.ffn_size, between<std::int64_t>(1, max_width),
                "Inner width of the SwiGLU feed-forward.");
  visitor.field("segment_length", model.segment_length, between<std::int64_t>(1, max_length),
                "Tokens of a segment: how far local attention sees and how often the memory is written.");
  visitor.section("attention", model.attention, "The attention of every block: its `kind` and that kind's options.");
  visitor.field("norm_epsilon", model.norm_epsilon, positive(), "Added to the mean square in RMSNorm.");
  visitor.field("rope_theta", model.rope_theta, Range<double>{.minimum = 1, .above_minimum = true},
                "Base of the rotary position wavelengths.");
  visitor.section("rope_scaling", model.rope_scaling,
                  "How imported models have had their rotary frequencies changed for a longer context.");
  visitor.field("qkv_bias", model.qkv_bias, Boolean{},
                "Whether biases are added to queries, keys and values, as in Qwen2.");
  visitor.field("qk_norm", model.qk_norm, Boolean{},
                "Whether queries and keys are normalised head by head before they are turned, as in Qwen3.");
  visitor.section(
      "lora", model.lora,
      "Low-rank changes B A of weight matrices: W + alpha / rank * B A. Where there are any, they are all that "
      "is trained unless `train.trainable` says otherwise (docs/continued-training.md).");
  visitor.field("tie_embeddings", model.tie_embeddings, Boolean{}, "Whether the output head is the embedding matrix.");
  visitor.field("initializer_range", model.initializer_range, at_least(0.0),
                "Standard deviation of the initial weights.");
}

}  // namespace palimpsest
