// The keys of `train` and of what goes on beside it: `distillation`, `loss_spike`, `evaluation` and `checkpoint`.
#include "configs/schema.h"

namespace palimpsest {

using namespace schema;

void describe(TrainConfig& train, SchemaVisitor& visitor) {
  visitor.field("run_directory", train.run_directory, Text{},
                "Where checkpoints and metrics go. Training that starts again in it resumes.");
  visitor.field(
      "initial_weights", train.initial_weights, Text{},
      "The weights to begin with: a checkpoint, a run directory, or a Hugging Face folder. Nothing else of it "
      "is taken over. Empty: they are drawn at random.");
  visitor.field("allow_unused_weights", train.allow_unused_weights, Boolean{},
                "Whether `initial_weights` may hold parameters that the model has no place for.");
  visitor.texts(
      "trainable", train.trainable,
      "The parameters that are trained, all others being frozen: patterns of their names, in which `*` stands "
      "for any text, `?` for one character and `[0-3]` for one of several; or `memory` (what the memory "
      "has of its own), `attention`, `lora`, `all`. Empty: `lora` in a model that has it, else `all` "
      "(docs/continued-training.md).");
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
  visitor.field(
      "interleave", train.interleave, between<std::int64_t>(1, 10'000),
      "Places in the data that each lane reads in turn, a step of each, with a memory for each: steps that follow one "
      "another usually come from different documents, and step n goes on where step n - `interleave` ended. Needs "
      "`data.train` to be one token file (docs/data.md).");
  visitor.field(
      "fresh_memory", train.fresh_memory, between(0.0, 1.0),
      "Probability that a lane begins a step with an empty memory although its document goes on. Lanes in the "
      "middle of books rarely meet one otherwise, and a model that never does reads the first pages badly.");
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
      "tensorboard", train.tensorboard, Boolean{},
      "Whether the numbers of metrics.jsonl go into event files for TensorBoard, too, in `tensorboard/` in the "
      "run directory.");
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

void describe(DistillationConfig& distillation, SchemaVisitor& visitor) {
  visitor.field("share", distillation.share, between(0.0, 1.0),
                "Share of the divergence from the teacher in the loss, KL(teacher ‖ model) of each token; the rest is "
                "its negative log-likelihood. 0: there is no teacher.");
  visitor.field("teacher", distillation.teacher, Text{},
                "A checkpoint, a run directory, or a Hugging Face folder. Empty: `train.initial_weights`. It has to be "
                "there whenever the run starts or resumes.");
  visitor.field("attention", distillation.attention,
                Choices{Choice{"full", AttentionKind::full}, Choice{"local", AttentionKind::local}},
                "What the teacher's tokens see: `full`, all of their document in the step's sequence; `local`, as far "
                "as their `window`.");
  visitor.field("window", distillation.window, between<std::int64_t>(0, max_length),
                "Tokens of the teacher's segments, of `local` attention. 0: `model.segment_length`.");
}

void describe(LossSpikeConfig& spike, SchemaVisitor& visitor) {
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

void describe(EvaluationSet& set, SchemaVisitor& visitor) {
  visitor.field("name", set.name, Text{}, "In logs and metrics: letters, digits, `-`, `_` and `.`.");
  visitor.field("file", set.file, Text{}, "Token file, packed with the training data's tokenizer.");
}

void describe(SummaryEvaluationConfig& summaries, SchemaVisitor& visitor) {
  visitor.field("pairs", summaries.pairs, Text{},
                "`*.jsonl` with `document` (a text, or the path of one) and `summary`, held out of training. Empty: no "
                "summaries are written.");
  visitor.field("every", summaries.every, between<std::int64_t>(0, max_count),
                "Steps between them. 0: only after the last step.");
  visitor.field("max_pairs", summaries.max_pairs, between<std::int64_t>(0, max_count),
                "Pairs that count, from the first one. 0: all.");
  visitor.field("max_tokens", summaries.max_tokens, between<std::int64_t>(1, max_length),
                "Tokens of a summary at most.");
  visitor.field("no_repeat_ngram", summaries.no_repeat_ngram, between<std::int64_t>(0, max_length),
                "No so many tokens in a row come twice in a summary. 0: any may.");
  visitor.field("beams", summaries.beams, between<std::int64_t>(1, 1024),
                "1: always the likeliest token; more: beam search (docs/generation.md).");
  visitor.field(
      "template", summaries.pair_template, Text{},
      "What a document and its summary became when the training data was packed (`pack --pair-template`); `\\n` "
      "is a line end, so write it in single quotes.");
  visitor.field("stem", summaries.stem, Boolean{}, "Whether endings are taken off words first, as by `rouge --stem`.");
}

void describe(EvaluationConfig& evaluation, SchemaVisitor& visitor) {
  visitor.field("every", evaluation.every, between<std::int64_t>(0, max_count),
                "Steps between evaluations. 0: only after the last step.");
  visitor.field("batch_size", evaluation.batch_size, between<std::int64_t>(1, max_length),
                "Documents a rank evaluates at once; the result does not depend on it.");
  visitor.field("max_documents", evaluation.max_documents, between<std::int64_t>(0, max_count),
                "Documents of the split that count, from its first one. 0: all.");
  visitor.list("sets", evaluation.sets,
               "Further token files that are evaluated along with the validation split, or without one: each with how "
               "far its loss has risen above its least (docs/continued-training.md).");
  visitor.section("summaries", evaluation.summaries,
                  "Summaries that are written and measured by ROUGE while training (docs/summaries.md).");
}

void describe(CheckpointConfig& checkpoint, SchemaVisitor& visitor) {
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

}  // namespace palimpsest
