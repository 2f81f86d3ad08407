#include "layers/language_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "autograd/ops/attention.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/norm.h"
#include "autograd/recompute.h"
#include "core/matmul.h"
#include "core/random.h"
#include "core/sequence_layout.h"

namespace palimpsest {

namespace {

std::vector<LayerMemory> as_constants(const MemoryState& state) {
  std::vector<LayerMemory> memory;
  for (const MemoryState::Layer& layer : state.layers) memory.push_back({Variable(layer.matrix), Variable(layer.norm)});
  return memory;
}

/// Copies, so that the carried state does not keep a step's intermediate states alive.
void replace(MemoryPool& pool, std::span<const LayerMemory> memory, const std::vector<std::int64_t>& documents,
             MemoryState& state) {
  for (std::size_t i = 0; i < memory.size(); ++i) {
    const Tensor &matrix = memory[i].matrix.value(), &norm = memory[i].norm.value();
    state.layers[i] = {converted(pool, matrix, matrix.data_type()), converted(pool, norm, norm.data_type())};
  }
  state.documents = documents;
}

void check_batch(const TokenBatch& batch, const MemoryState& memory, const ModelConfig& config) {
  const auto elements = static_cast<std::size_t>(batch.lanes * batch.tokens);
  if (batch.inputs.size() != elements || batch.documents.size() != elements || memory.lanes() != batch.lanes ||
      static_cast<std::int64_t>(memory.layers.size()) != config.num_layers) {
    throw ShapeError(fmt::format(
        "a batch of {} lanes x {} tokens holds {} inputs and {} document indices, the memory "
        "{} lanes and {} layers",
        batch.lanes, batch.tokens, batch.inputs.size(), batch.documents.size(), memory.lanes(), memory.layers.size()));
  }
}

}  // namespace

LanguageModel::LanguageModel(MemoryPool& parameter_pool, const ModelConfig& config, DataType compute_type)
    : config_(config.resolved()), compute_type_(compute_type) {
  ParameterFactory factory(parameter_pool, parameters_, compute_type);
  const Shape table{config_.vocab_size, config_.hidden_size};
  embedding_ = factory.create("embed_tokens.weight", ParameterRole::embedding, table);
  for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
    blocks_.emplace_back(config_, fmt::format("layers.{}.", layer), factory);
  }
  norm_parameter_ = factory.count();
  norm_ = factory.create("norm.weight", ParameterRole::norm, {config_.hidden_size});
  head_ = config_.tie_embeddings ? embedding_ : factory.create("lm_head.weight", ParameterRole::matrix, table);
  rotary_ = std::make_shared<const RotaryTable>(parameter_pool, config_.segment_length, config_.head_size,
                                                config_.rope_theta, accumulate_type(compute_type));
}

namespace {

/// The same numbers whatever the type: float64 models are compared with float32 ones.
void fill_normal(Tensor& target, const Random& random, float scale) {
  if (target.data_type() == DataType::float32) return random.fill_normal(target.values<float>(), scale);
  std::vector<float> values(static_cast<std::size_t>(target.elements()));
  random.fill_normal(values, scale);
  std::ranges::copy(values, target.values<double>().begin());
}

}  // namespace

void LanguageModel::initialize(std::uint64_t seed) {
  std::uint32_t index = 0;
  for (Parameter& parameter : parameters_) {
    const Random random(seed, RandomPurpose::initialization, 0, index++);
    switch (parameter.role) {
      case ParameterRole::norm: fill(parameter.master, 1.0); break;
      case ParameterRole::memory_gate: fill(parameter.master, config_.attention.initial_gate); break;
      case ParameterRole::matrix:
      case ParameterRole::embedding:
        fill_normal(parameter.master, random, static_cast<float>(config_.initializer_range));
        break;
    }
    parameter.refresh();
  }
}

MemoryState LanguageModel::empty_memory(MemoryPool& pool, std::int64_t lanes) const {
  return palimpsest::empty_memory(pool, config_, lanes, accumulate_type(compute_type_));
}

namespace {

/// How the first block's gradients become final: what it computes for its weights waits until the embedding's gradient
/// has been told of, which needs the block's input gradient alone. Communication of the embedding, the largest
/// gradient and the last one to be ready, then has something to hide behind.
struct FirstBlock {
  std::shared_ptr<const ParameterEvents> listener;
  std::shared_ptr<DeferredGradients> deferred;
};

/// To be called before anything else is recorded.
FirstBlock defer_first_block(Tape& tape, const std::shared_ptr<const ParameterEvents>& listener) {
  if (!listener || !listener->gradients_final) return {listener, nullptr};
  const auto deferred = std::make_shared<DeferredGradients>();
  tape.when_back_at_this_point([deferred, profile = tape.profile()] { deferred->run(profile); });
  const auto tell_later = [deferred, listener](std::size_t begin, std::size_t end) {
    deferred->add({}, [listener, begin, end] { listener->gradients_final(begin, end); });
  };
  return {std::make_shared<const ParameterEvents>(ParameterEvents{listener->needed, tell_later}), deferred};
}

}  // namespace

LanguageModel::Result LanguageModel::forward(Tape& tape, std::span<const std::int32_t> tokens,
                                             const LayoutPointer& layout, std::span<const LayerMemory> memory,
                                             Recompute recompute_grain,
                                             const std::shared_ptr<const ParameterEvents>& listener,
                                             const SequenceGroup& sequence, KeysAndValues* keys_and_values) const {
  const bool everywhere = config_.attention.empty_memory == EmptyMemory::gated;
  const auto mixes = std::make_shared<const std::vector<std::uint8_t>>(rows_that_mix(*layout, everywhere));
  const ForwardContext context{tape, layout, mixes, rotary_, recompute_grain == Recompute::cheap, listener, sequence};
  const FirstBlock first = defer_first_block(tape, listener);
  Result result;
  context.announce(0, 1);  // the embedding
  Variable x = embedding(tape, embedding_, tokens, layout->lanes, layout->tokens);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    ForwardContext of_block = context;
    if (i == 0) {
      of_block.listener = first.listener;
      of_block.deferred = first.deferred;
    }
    InfiniAttention::Result block;
    if (recompute_grain == Recompute::block) {
      const std::vector<Variable> outputs =
          recompute(tape,
                    [this, i, layout, mixes, listener = of_block.listener, sequence, deferred = of_block.deferred](
                        Tape& on, std::span<const Variable> in) {
                      const ForwardContext inner{on, layout, mixes, rotary_, true, listener, sequence, deferred};
                      const InfiniAttention::Result r = blocks_[i].forward(inner, in[0], {in[1], in[2]});
                      return std::vector<Variable>{r.output, r.memory.matrix, r.memory.norm};
                    },
                    {x, memory[i].matrix, memory[i].norm});
      block.output = outputs[0];
      block.memory = {outputs[1], outputs[2]};
    } else {
      block = blocks_[i].forward(of_block, x, memory[i]);
    }
    x = std::move(block.output);
    result.memory.push_back(std::move(block.memory));
    if (keys_and_values != nullptr) keys_and_values->emplace_back(std::move(block.key), std::move(block.value));
  }
  context.announce(norm_parameter_, norm_parameter_ + 1);
  result.hidden = rms_norm(tape, x, norm_, config_.norm_epsilon);
  return result;
}

Variable LanguageModel::decode(Tape& tape, std::int32_t token, std::span<const LayerMemory> memory, bool reads,
                               std::span<SegmentCache> caches, std::int64_t position) const {
  Variable x = embedding(tape, embedding_, std::span(&token, 1), 1, 1);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i].decode(tape, x, memory[i], reads, caches[i], position, *rotary_);
  }
  return rms_norm(tape, x, norm_, config_.norm_epsilon);
}

Tensor LanguageModel::head(MemoryPool& pool, const Tensor& hidden) const {
  std::vector<std::int64_t> extents(hidden.shape().extents().begin(), hidden.shape().extents().end());
  extents.back() = config_.vocab_size;
  Tensor logits(pool, Shape(extents), accumulate_type(compute_type_));
  matmul(pool, matrix_of(hidden), matrix_of(head_.value()).transposed(), matrix_of(logits));
  return logits;
}

/// What this rank holds of the batch; empty where it has the sequences alone.
SequenceGroup LanguageModel::share(const TokenBatch& batch, const MemoryState& memory, Communicator* ranks) const {
  if (ranks == nullptr || ranks->size() == 1) return {};
  return {.ranks = ranks,
          .share = std::make_shared<const SequenceShare>(share_sequence(batch.documents, memory.documents,
                                                                        config_.segment_length, ranks->rank(),
                                                                        ranks->size(), batch.write_weights))};
}

/// Memory variables in pairs, matrix and norm of each layer; -> the loss, then the memory after.
std::vector<Variable> LanguageModel::loss_pass(Tape& tape, const TokenBatch& chunk, const LayoutPointer& layout,
                                               std::span<const Variable> memory, Recompute grain,
                                               const std::shared_ptr<const ParameterEvents>& listener,
                                               const SequenceGroup& sequence) const {
  std::vector<LayerMemory> layers;
  for (std::size_t i = 0; i < memory.size(); i += 2) layers.push_back({memory[i], memory[i + 1]});
  Result result = forward(tape, chunk.inputs, layout, layers, grain, listener, sequence);
  if (!config_.tie_embeddings) announce(tape, listener, norm_parameter_ + 1, parameters_.size());
  std::vector<Variable> outputs{linear_cross_entropy(tape, result.hidden, head_, chunk.targets, chunk.loss_weights)};
  for (const LayerMemory& layer : result.memory) {
    outputs.push_back(layer.matrix);
    outputs.push_back(layer.norm);
  }
  return outputs;
}

double LanguageModel::accumulate_gradients(MemoryPool& pool, const TokenBatch& batch, MemoryState& memory,
                                           const PassOptions& options) {
  check_batch(batch, memory, config_);
  const bool recomputing = options.recompute == Recompute::segment;
  SequenceGroup sequence = share(batch, memory, options.sequence_ranks);
  sequence.overlaps = options.overlap_memory;
  if (sequence && recomputing) throw ConfigError("ranks that share a sequence cannot recompute it segment by segment");
  const bool sequential = !sequence && (recomputing || options.schedule == Schedule::sequential);
  const std::int64_t step = sequential ? config_.segment_length : batch.tokens;

  Tape tape(pool, Tape::Mode::record, options.profile);
  std::vector<Variable> losses, state;
  for (const LayerMemory& layer : as_constants(memory)) state.insert(state.end(), {layer.matrix, layer.norm});
  LayoutPointer layout;
  for (std::int64_t begin = 0; begin < batch.tokens; begin += step) {
    auto chunk = std::make_shared<const TokenBatch>(
        sequence ? tokens_of(*sequence.share, batch) : columns_of(batch, begin, std::min(begin + step, batch.tokens)));
    const auto& carried = layout ? layout->last_document : memory.documents;
    layout = sequence ? sequence.layout()
                      : std::make_shared<const SequenceLayout>(
                            make_layout(chunk->documents, carried, config_.segment_length, chunk->write_weights));
    const Recompute inside = options.recompute == Recompute::automatic ? Recompute::cheap : options.recompute;
    // Forward passes the first segments first, when parameters may not be there yet, and backward passes them last:
    // only then are gradients final.
    const auto listener = begin == 0 ? std::make_shared<const ParameterEvents>(options.events) : nullptr;
    const auto pass = [this, chunk, layout, inside, listener, sequence](Tape& on, std::span<const Variable> before) {
      return loss_pass(on, *chunk, layout, before, inside, listener, sequence);
    };
    std::vector<Variable> outputs = recomputing ? recompute(tape, pass, state) : pass(tape, state);
    losses.push_back(outputs.front());
    state.assign(outputs.begin() + 1, outputs.end());
  }

  std::vector<LayerMemory> after;
  for (std::size_t i = 0; i < state.size(); i += 2) after.push_back({state[i], state[i + 1]});
  replace(pool, after, sequence ? sequence.share->last_document : layout->last_document, memory);
  state.clear();
  after.clear();

  for (const Variable& loss : losses) {
    auto seed = loss.gradient_target(pool);
    fill(seed.view, options.loss_scale);
  }
  tape.backward_from_gradients();
  double sum = 0;
  for (const Variable& loss : losses) sum += loss.value().to_doubles().front();
  return sum;
}

std::vector<double> LanguageModel::token_losses(MemoryPool& pool, const TokenBatch& batch, MemoryState& memory,
                                                Communicator* sequence_ranks) const {
  check_batch(batch, memory, config_);
  Tape tape(pool, Tape::Mode::inference);
  if (const SequenceGroup sequence = share(batch, memory, sequence_ranks)) {
    const SequenceShare& share = *sequence.share;
    const TokenBatch mine = tokens_of(share, batch);
    const Result result =
        forward(tape, mine.inputs, sequence.layout(), as_constants(memory), Recompute::none, nullptr, sequence);
    replace(pool, result.memory, share.last_document, memory);
    std::vector<double> losses(batch.inputs.size(), 0.0);
    if (share.idle()) return losses;
    const std::vector<double> of_mine =
        palimpsest::token_losses(pool, result.hidden.value(), head_.value(), mine.targets);
    for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
      std::copy_n(of_mine.begin() + lane * mine.tokens, mine.tokens,
                  losses.begin() + lane * batch.tokens + share.begin);
    }
    return losses;
  }
  const auto layout = std::make_shared<const SequenceLayout>(
      make_layout(batch.documents, memory.documents, config_.segment_length, batch.write_weights));
  const Result result = forward(tape, batch.inputs, layout, as_constants(memory));
  replace(pool, result.memory, layout->last_document, memory);
  return palimpsest::token_losses(pool, result.hidden.value(), head_.value(), batch.targets);
}

Tensor LanguageModel::logits(MemoryPool& pool, const TokenBatch& batch, MemoryState& memory) const {
  check_batch(batch, memory, config_);
  Tape tape(pool, Tape::Mode::inference);
  const auto layout = std::make_shared<const SequenceLayout>(
      make_layout(batch.documents, memory.documents, config_.segment_length, batch.write_weights));
  const Result result = forward(tape, batch.inputs, layout, as_constants(memory));
  replace(pool, result.memory, layout->last_document, memory);
  return head(pool, result.hidden.value());
}

}  // namespace palimpsest
