// Every key of a run's configuration, described once: name, place in RunConfig, what is allowed and
// what it means. From this come the YAML reader and writer, --set, differences and
// docs/configuration.md; a new key is one more line here.
#pragma once

#include "configs/run_config.h"
#include "configs/scalar.h"

namespace palimpsest {

namespace schema {

// Far beyond any machine, yet small enough for every product of sizes to fit 63 bits.
inline constexpr std::int64_t max_width = 100'000;
inline constexpr std::int64_t max_heads = 1'000;
inline constexpr std::int64_t max_length = 1'000'000'000;  // of sequences, batches and vocabularies
inline constexpr std::int64_t max_count = 1'000'000'000'000;

template <class Config, class Visitor>
void describe_model(Config& model, Visitor& visitor) {
  visitor.section("model", "The shape and the mathematics of the model.");
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
  visitor.field("memory_update", model.memory_update,
                Choices{Choice{"linear", MemoryUpdate::linear}, Choice{"delta", MemoryUpdate::delta}},
                "How a segment is written: `linear` adds every value, `delta` first subtracts what the memory already "
                "answers to the key.");
  visitor.field("empty_memory", model.empty_memory,
                Choices{Choice{"local", EmptyMemory::local}, Choice{"gated", EmptyMemory::gated}},
                "Attention of a token whose document has nothing in memory yet: `local` attention alone, or the "
                "paper's gated sum with a zero read.");
  visitor.field("memory_epsilon", model.memory_epsilon, positive(), "Added to the denominator of a memory read.");
  visitor.field("norm_epsilon", model.norm_epsilon, positive(), "Added to the mean square in RMSNorm.");
  visitor.field("rope_theta", model.rope_theta, Range<double>{.minimum = 1, .above_minimum = true},
                "Base of the rotary position wavelengths.");
  visitor.field("tie_embeddings", model.tie_embeddings, Boolean{}, "Whether the output head is the embedding matrix.");
  visitor.field("initializer_range", model.initializer_range, at_least(0.0),
                "Standard deviation of the initial weights.");
  visitor.field("initial_gate", model.initial_gate, between(-20.0, 20.0),
                "Initial memory gate β of every head; sigmoid(β) is the share of the memory, so 0 means one half.");
}

template <class Config, class Visitor>
void describe_data(Config& data, Visitor& visitor) {
  visitor.section("data", "Token files, as `palimpsest pack` writes them.");
  visitor.field("train", data.train, Text{}, "The training split.");
  visitor.field("validation", data.validation, Text{},
                "The validation split, evaluated while training. Empty: no evaluation while training.");
  visitor.field("test", data.test, Text{}, "The test split, for `palimpsest eval`.");
}

template <class Config, class Visitor>
void describe_train(Config& train, Visitor& visitor) {
  visitor.section("train", "The training run.");
  visitor.field("run_directory", train.run_directory, Text{},
                "Where checkpoints and metrics go. Training that starts again in it resumes.");
  visitor.field("seed", train.seed, Range<std::uint64_t>{}, "Seed of initialization and of the order of documents.");
  visitor.field("steps", train.steps, between<std::int64_t>(1, max_count), "Optimizer updates in all.");
  visitor.field("batch_size", train.batch_size, between<std::int64_t>(1, max_length),
                "Sequences (lanes) of one step over all ranks; a multiple of the number of ranks.");
  visitor.field("micro_batch_size", train.micro_batch_size, between<std::int64_t>(0, max_length),
                "Sequences a rank computes at once; gradients accumulate over them. 0: all of the rank's.");
  visitor.field("sequence_length", train.sequence_length, between<std::int64_t>(1, max_length),
                "Tokens per sequence and step. Gradients flow through all of its segments.");
  visitor.field("precision", train.precision,
                Choices{Choice{"float32", Precision::float32}, Choice{"bfloat16", Precision::bfloat16}},
                "Type of activations and of the weights in matrix products. Master weights, gradients, optimizer state "
                "and memory are float32 always.");
  visitor.field(
      "schedule", train.schedule,
      Choices{Choice{"automatic", Schedule::automatic}, Choice{"sequential", Schedule::sequential},
              Choice{"parallel", Schedule::parallel}},
      "Order of work over a sequence: segment after segment (`sequential`, least memory), all segments at once "
      "(`parallel`, larger matrix products), or `automatic`: parallel where `memory_budget` allows. The mathematics "
      "is the same.");
  visitor.field(
      "recompute", train.recompute,
      Choices{Choice{"automatic", Recompute::automatic}, Choice{"none", Recompute::none},
              Choice{"cheap", Recompute::cheap}, Choice{"block", Recompute::block},
              Choice{"segment", Recompute::segment}},
      "What the backward pass computes again instead of keeping it, with the same bits: nothing (`none`), the "
      "outputs of norms and gates (`cheap`), whole layers (`block`), or everything but the memory at each "
      "segment's start (`segment`: activation memory no longer grows with the sequence; implies the "
      "sequential schedule). `automatic`: the first of `cheap`, `block`, `segment` that fits `memory_budget`.");
  visitor.field(
      "sequence_ranks", train.sequence_ranks, between<std::int64_t>(1, max_length),
      "Ranks that share each sequence, every one with a run of its segments: neighbouring ranks form groups of "
      "so many, and each group has lanes of its own. Divides the number of ranks, and is at most the number of "
      "segments in `sequence_length`. More than 1 implies the parallel schedule.");
  visitor.field("memory_budget", train.memory_budget, at_least(0.0),
                "GiB of memory a rank may use, by which the automatic choices are made. 0: its share of four fifths of "
                "the host's memory.");
  visitor.field("carry_memory", train.carry_memory, Boolean{},
                "Whether the memory goes on, detached, into the next step while its document continues.");
  visitor.field("threads", train.threads, between<std::int64_t>(0, 10'000),
                "Threads per rank. 0: OMP_NUM_THREADS, else the share of a rank in the cores it may use.");
  visitor.field(
      "overlap_gradients", train.overlap_gradients, Boolean{},
      "Whether gradients are summed over ranks while backward still computes those of earlier layers, and what a "
      "sharded optimizer has updated travels behind the next forward pass. The bits are the same.");
  visitor.field(
      "gradient_bucket", train.gradient_bucket, between(0.0, 1024.0),
      "MiB. Smaller gradients are collected into buckets of about this size to be summed over ranks together; "
      "larger ones travel alone. The bits are the same.");
  visitor.field("gradient_wire", train.gradient_wire,
                Choices{Choice{"float32", WireType::float32}, Choice{"bfloat16", WireType::bfloat16}},
                "Type that gradients travel in between ranks. `bfloat16` halves the bytes: every rank's gradient is "
                "rounded, the sum is float32 and rounded once more (each time by at most 2^-8 of its size).");
  visitor.field("overlap_memory", train.overlap_memory, Boolean{},
                "Whether ranks that share a sequence compute local attention while the memory's states travel between "
                "them. The bits are the same.");
  visitor.field("log_every", train.log_every, between<std::int64_t>(1, max_count), "Steps between progress lines.");
  visitor.field(
      "time_limit", train.time_limit, Duration{},
      "How long the program may run. It stops early enough for a checkpoint to be on disk by then, judging by "
      "how long steps and saves took before, with exit code 8. 0: no limit.");
  visitor.field(
      "max_skipped_steps", train.max_skipped_steps, between<std::int64_t>(1, max_count),
      "How many steps in a row may be skipped because loss or gradient is not finite (or by `loss_spike`); so "
      "many end the run with exit code 5.");
  visitor.field(
      "watchdog_timeout", train.watchdog_timeout, Duration{},
      "How long a rank may give no sign of life (stopped, dead, gone, or hanging) before the others name it and "
      "end the job with exit code 7. 0: for ever.");
}

template <class Config, class Visitor>
void describe_optimizer(Config& optimizer, Visitor& visitor) {
  visitor.section("optimizer", "The optimizer and its learning rate.");
  visitor.field("kind", optimizer.kind,
                Choices{Choice{"adamw", OptimizerKind::adamw}, Choice{"adafactor", OptimizerKind::adafactor}},
                "The optimizer.");
  visitor.field("learning_rate", optimizer.learning_rate, at_least(0.0),
                "Peak learning rate of every parameter but the memory gates.");
  visitor.field("memory_gate_learning_rate", optimizer.memory_gate_learning_rate, at_least(0.0),
                "Peak learning rate of the memory gates, with the same warm-up and decay.");
  visitor.field("warmup_steps", optimizer.warmup_steps, between<std::int64_t>(0, max_count),
                "Steps over which the rate rises linearly to its peak.");
  visitor.field(
      "decay", optimizer.decay,
      Choices{Choice{"cosine", Decay::cosine}, Choice{"linear", Decay::linear}, Choice{"constant", Decay::constant}},
      "How the rate falls from the peak until the last step.");
  visitor.field("final_learning_rate_ratio", optimizer.final_learning_rate_ratio, between(0.0, 1.0),
                "The rate of the last step as a share of the peak (`cosine` and `linear`).");
  visitor.field("weight_decay", optimizer.weight_decay, at_least(0.0),
                "Decoupled weight decay of matrices and embeddings; norms and memory gates have none.");
  visitor.field("beta1", optimizer.beta1, below_one(), "AdamW: decay of the first moment.");
  visitor.field("beta2", optimizer.beta2, below_one(), "AdamW: decay of the second moment.");
  visitor.field("epsilon", optimizer.epsilon, positive(), "AdamW: added to the root of the second moment.");
  visitor.field("clip_norm", optimizer.clip_norm, at_least(0.0),
                "Largest norm of all gradients together; larger ones are scaled down to it. 0: no clipping.");
  visitor.field(
      "sharded", optimizer.sharded, Boolean{},
      "AdamW: whether every rank keeps the optimizer's state for its share of the parameters alone, and updates "
      "that (ZeRO, stage 1): memory falls with the number of ranks, the bits stay the same.");
  visitor.field("adafactor_decay_rate", optimizer.adafactor_decay_rate, between(0.0, 1.0),
                "Adafactor: the second moment of step t decays by 1 - t^-rate.");
  visitor.field("adafactor_clip_threshold", optimizer.adafactor_clip_threshold, positive(),
                "Adafactor: largest root mean square of a parameter's update.");
  visitor.field("adafactor_epsilon1", optimizer.adafactor_epsilon1, between(1e-37, 1.0),
                "Adafactor: added to the squared gradient.");
  visitor.field("adafactor_epsilon2", optimizer.adafactor_epsilon2, at_least(0.0),
                "Adafactor: least root mean square a parameter counts with under `adafactor_scale_parameter`.");
  visitor.field(
      "adafactor_scale_parameter", optimizer.adafactor_scale_parameter, Boolean{},
      "Adafactor: whether the rate is relative to the parameter's root mean square (never for memory gates).");
}

template <class Config, class Visitor>
void describe_loss_spike(Config& spike, Visitor& visitor) {
  visitor.section("loss_spike", "What to do about a loss that jumps.");
  visitor.field("policy", spike.policy,
                Choices{Choice{"off", LossSpikePolicy::off}, Choice{"warn", LossSpikePolicy::warn},
                        Choice{"skip", LossSpikePolicy::skip}},
                "Nothing, a warning, or no update by that step.");
  visitor.field("window", spike.window, between<std::int64_t>(2, 100'000),
                "Steps before it by which a loss is judged, once there have been half as many.");
  visitor.field(
      "threshold", spike.threshold, positive(),
      "A spike is a loss that many spreads above their median; the spread is 1.4826 times the median distance "
      "from it, the standard deviation if losses were normal.");
}

template <class Config, class Visitor>
void describe_evaluation(Config& evaluation, Visitor& visitor) {
  visitor.section("evaluation", "Evaluation of the validation split while training.");
  visitor.field("every", evaluation.every, between<std::int64_t>(0, max_count),
                "Steps between evaluations. 0: only after the last step.");
  visitor.field("batch_size", evaluation.batch_size, between<std::int64_t>(1, max_length),
                "Documents a rank evaluates at once; the result does not depend on it.");
  visitor.field("max_documents", evaluation.max_documents, between<std::int64_t>(0, max_count),
                "Documents of the split that count, from its first one. 0: all.");
}

template <class Config, class Visitor>
void describe_checkpoint(Config& checkpoint, Visitor& visitor) {
  visitor.section("checkpoint", "Checkpoints in `train.run_directory`.");
  visitor.field("every", checkpoint.every, between<std::int64_t>(1, max_count),
                "Steps between checkpoints; one is always written after the last step.");
  visitor.field("keep_last", checkpoint.keep_last, between<std::int64_t>(0, max_count),
                "How many of the newest are kept. 0: all.");
  visitor.field("keep_every", checkpoint.keep_every, between<std::int64_t>(0, max_count),
                "Checkpoints whose step is a multiple of this are kept for ever. 0: none.");
  visitor.field("asynchronous", checkpoint.asynchronous, Boolean{},
                "Whether training goes on while a checkpoint is written, from a copy of what it holds (of each rank: "
                "its share). `false` saves that memory.");
  visitor.field("on_failure", checkpoint.on_failure,
                Choices{Choice{"continue", OnFailure::go_on}, Choice{"stop", OnFailure::stop}},
                "What to do when a checkpoint cannot be saved: `continue` with a warning, the earlier ones being "
                "intact, or `stop`. The last one of a run has to be saved in any case.");
}

}  // namespace schema

/// Calls visitor.section(name, meaning) for every section of the file and, after each,
/// visitor.field(name, value, allowed, meaning) for its keys. `Config` is RunConfig, const or not;
/// `value` refers into `config`; `allowed` is one of the kinds of configs/scalar.h.
template <class Config, class Visitor>
void describe(Config& config, Visitor& visitor) {
  schema::describe_model(config.model, visitor);
  schema::describe_data(config.data, visitor);
  schema::describe_train(config.train, visitor);
  schema::describe_optimizer(config.optimizer, visitor);
  schema::describe_loss_spike(config.loss_spike, visitor);
  schema::describe_evaluation(config.evaluation, visitor);
  schema::describe_checkpoint(config.checkpoint, visitor);
}

}  // namespace palimpsest
