#include "layers/language_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "autograd/ops/embedding.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/rows.h"
#include "autograd/recompute.h"
#include "core/error.h"
#include "core/matmul.h"
#include "core/random.h"
#include "layers/attention/registry.h"

namespace palimpsest {

LanguageModel::LanguageModel(MemoryPool& parameter_pool, const ModelConfig& config, DataType compute_type)
    : config_(config.resolved()), compute_type_(compute_type) {
  ParameterFactory factory(parameter_pool, parameters_, compute_type);
  const Shape table{config_.vocab_size, config_.hidden_size};
  embedding_ = factory.create("embed_tokens.weight", ParameterRole::embedding, table);
  const AttentionTraits& traits = traits_of(config_.attention.kind);
  if (traits.make_model_memory) memory_ = traits.make_model_memory(config_, factory);
  first_layer_parameter_ = factory.count();
  for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) blocks_.emplace_back(config_, layer, factory);
  norm_parameter_ = factory.count();
  norm_ = factory.create("norm.weight", ParameterRole::norm, {config_.hidden_size});
  head_ = config_.tie_embeddings ? embedding_ : factory.create("lm_head.weight", ParameterRole::matrix, table);
  rotary_ = std::make_shared<const RotaryTable>(parameter_pool, rotary_positions(0, config_.segment_length),
                                                config_.head_size, config_.rope_theta, accumulate_type(compute_type),
                                                config_.rope_scaling);
}

namespace {

/// The same numbers whatever the type: float64 models are compared with float32 ones.
void fill_normal(Tensor& target, const Random& random, float scale) {
  if (target.data_type() == DataType::float32) return random.fill_normal(target.values<float>(), scale);
  std::vector<float> values(static_cast<std::size_t>(target.elements()));
  random.fill_normal(values, scale);
  std::ranges::copy(values, target.values<double>().begin());
}

/// Logits of the shares 1 - 2^-x, x from 1 to 7 over the heads: half-lives of one segment to some ninety.
void fill_decay(Tensor& logits) {
  const std::int64_t heads = logits.elements();
  dispatch(logits.data_type(), [&]<class T>() {
    for (std::int64_t head = 0; head < heads; ++head) {
      const double x = heads == 1 ? 1 : 1 + 6 * static_cast<double>(head) / static_cast<double>(heads - 1);
      logits.data<T>()[head] = static_cast<T>(std::log(std::exp2(x) - 1));  // of 1 - 2^-x
    }
  });
}

}  // namespace

void LanguageModel::initialize(std::uint64_t seed) {
  std::uint32_t index = 0;
  for (Parameter& parameter : parameters_) {
    const Random random(seed, RandomPurpose::initialization, 0, index++);
    switch (parameter.role) {
      case ParameterRole::norm: fill(parameter.master, 1.0); break;
      case ParameterRole::bias: fill(parameter.master, 0.0); break;
      case ParameterRole::memory_gate: fill(parameter.master, config_.attention.initial_gate); break;
      case ParameterRole::memory_gain: fill(parameter.master, 0.5); break;
      case ParameterRole::memory_decay: fill_decay(parameter.master); break;
      case ParameterRole::lora_up: fill(parameter.master, 0.0); break;
      case ParameterRole::matrix:
      case ParameterRole::embedding:
        fill_normal(parameter.master, random, static_cast<float>(config_.initializer_range));
        break;
    }
    parameter.refresh();
  }
}

SequenceState LanguageModel::empty_state(MemoryPool& pool, std::int64_t lanes) const {
  SequenceState state;
  for (const Block& block : blocks_) state.layers.push_back(block.attention().empty_state(pool, lanes));
  if (memory_) state.model = memory_->empty_state(pool, lanes);
  state.documents.assign(static_cast<std::size_t>(lanes), no_document);
  state.tokens.assign(static_cast<std::size_t>(lanes), 0);
  return state;
}

std::int64_t LanguageModel::rotary_positions(std::int64_t before, std::int64_t tokens) const {
  return traits_of(config_.attention.kind).rotary_positions(config_, before, tokens);
}

std::shared_ptr<const RotaryTable> LanguageModel::rotary(MemoryPool& pool, std::int64_t before,
                                                         std::int64_t tokens) const {
  const std::int64_t positions = rotary_positions(before, tokens);
  if (positions <= rotary_->positions()) return rotary_;
  return std::make_shared<const RotaryTable>(pool, positions, config_.head_size, config_.rope_theta,
                                             accumulate_type(compute_type_), config_.rope_scaling);
}

ForwardContext LanguageModel::context(Tape& tape, LayoutPointer layout, std::vector<std::int64_t> tokens_before) const {
  const std::int64_t longest = std::ranges::max(tokens_before);
  ForwardContext context{.tape = &tape};
  context.rotary = rotary(tape.pool(), longest, layout->tokens);
  context.layout = std::move(layout);
  context.tokens_before = std::make_shared<const std::vector<std::int64_t>>(std::move(tokens_before));
  return context;
}

namespace {

/// The context of the first block: what it computes for its weights' gradients waits until the embedding's gradient has
/// been told of, which needs the block's input gradient alone. Communication of the embedding, the largest gradient and
/// the last one to be ready, then has something to hide behind. To be called before anything else is recorded.
ForwardContext first_block(const ForwardContext& context) {
  ForwardContext first = context;
  if (!context.listener || !context.listener->gradients_final) return first;
  first.deferred = std::make_shared<DeferredGradients>();
  Tape& tape = *context.tape;
  tape.when_back_at_this_point([deferred = first.deferred, profile = tape.profile()] { deferred->run(profile); });
  const auto tell_later = [deferred = first.deferred, listener = context.listener](std::size_t begin, std::size_t end) {
    deferred->add({}, [listener, begin, end] { listener->gradients_final(begin, end); });
  };
  first.listener = std::make_shared<const ParameterEvents>(ParameterEvents{context.listener->needed, tell_later});
  return first;
}

/// A block of which backward keeps nothing but its input and its state.
Attention::Result recomputed(const Block& block, const ForwardContext& context, const Variable& x,
                             const LayerVariables& state) {
  std::vector<Variable> inputs{x};
  inputs.insert(inputs.end(), state.begin(), state.end());
  const auto pass = [&block, context](Tape& on, std::span<const Variable> in) {
    const Attention::Result result =
        block.forward(context.inside_block(on), in[0], LayerVariables(in.begin() + 1, in.end()));
    std::vector<Variable> outputs{result.output};
    outputs.insert(outputs.end(), result.state.begin(), result.state.end());
    return outputs;
  };
  const std::vector<Variable> outputs = recompute(*context.tape, pass, std::move(inputs));
  return {outputs.front(), LayerVariables(outputs.begin() + 1, outputs.end()), {}};
}

}  // namespace

LanguageModel::Result LanguageModel::forward(const ForwardContext& context, std::span<const std::int32_t> tokens,
                                             const StateVariables& state) const {
  const SequenceLayout& layout = *context.layout;
  if (traits_of(config_.attention.kind).parallel_segments || layout.segments_per_lane == 1) {
    return forward_at_once(context, tokens, state);
  }
  Result result{{}, state, {}};
  std::vector<Variable> hidden;
  std::vector<RowPick> picks(static_cast<std::size_t>(layout.rows()));
  ForwardContext of_segment = context;
  of_segment.keeps_state = true;  // for the next one
  for (std::int64_t index = 0; index < layout.segments_per_lane; ++index) {
    of_segment.layout = std::make_shared<const SequenceLayout>(segment_layout(layout, index));
    std::vector<std::int32_t> of_lanes;
    for (std::int64_t lane = 0; lane < layout.lanes; ++lane) {
      const Segment& segment = layout.segment(lane, index);
      for (std::int64_t row = segment.begin; row < segment.begin + segment.length; ++row) {
        picks[static_cast<std::size_t>(row)] = {index, static_cast<std::int64_t>(of_lanes.size())};
        of_lanes.push_back(tokens[static_cast<std::size_t>(row)]);
      }
    }
    result = forward_at_once(of_segment, of_lanes, result.state);
    hidden.push_back(std::move(result.hidden));
  }
  result.hidden = take_rows(*context.tape, hidden, picks, layout.lanes);
  return result;
}

LanguageModel::Result LanguageModel::forward_at_once(const ForwardContext& of_tokens,
                                                     std::span<const std::int32_t> tokens,
                                                     const StateVariables& state) const {
  Result result;
  ForwardContext context = of_tokens, first = first_block(of_tokens);
  context.announce(0, first_layer_parameter_);  // the embedding
  Variable x = embedding(*context.tape, embedding_, tokens, context.layout->lanes, context.layout->tokens);
  if (memory_) {
    ModelMemory::Framed framed = memory_->enter(context, x, state.model);
    x = std::move(framed.x);
    for (ForwardContext* of_layers : {&context, &first}) {
      of_layers->layout = framed.context.layout;
      of_layers->rotary = framed.context.rotary;
    }
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const ForwardContext& of_block = i == 0 ? first : context;
    Attention::Result block = context.recompute == Recompute::block
                                  ? recomputed(blocks_[i], of_block, x, state.layers[i])
                                  : blocks_[i].forward(of_block, x, state.layers[i]);
    x = std::move(block.output);
    if (context.keeps_state) result.state.layers.push_back(std::move(block.state));
    if (context.keeps_open) result.open.push_back(std::move(block.open));
  }
  result.state.model = state.model;
  if (memory_) {
    ModelMemory::Left left = memory_->leave(of_tokens, x);
    x = std::move(left.x);
    result.state.model = std::move(left.state);
  }
  context.announce(norm_parameter_, norm_parameter_ + 1);
  result.hidden = rms_norm(*context.tape, x, norm_, config_.norm_epsilon);
  return result;
}

void LanguageModel::announce_head(const ForwardContext& context) const {
  if (!config_.tie_embeddings) context.announce(norm_parameter_ + 1, parameters_.size());
}

Variable LanguageModel::loss(const ForwardContext& context, const Variable& hidden, LossTargets targets) const {
  announce_head(context);
  return linear_cross_entropy(*context.tape, hidden, head_, std::move(targets));
}

std::vector<double> LanguageModel::token_losses(MemoryPool& pool, const Tensor& hidden,
                                                std::span<const std::int32_t> targets) const {
  return palimpsest::token_losses(pool, hidden, head_.value(), targets);
}

Tensor LanguageModel::head(MemoryPool& pool, const Tensor& hidden) const {
  std::vector<std::int64_t> extents(hidden.shape().extents().begin(), hidden.shape().extents().end());
  extents.back() = config_.vocab_size;
  Tensor logits(pool, Shape(extents), accumulate_type(compute_type_));
  matmul(pool, matrix_of(hidden), matrix_of(head_.value()).transposed(), matrix_of(logits));
  return logits;
}

Variable LanguageModel::decode(const DecodeContext& context, std::span<const std::int32_t> tokens,
                               const SequenceState& state, std::vector<LayerState>& segments) const {
  const auto rows = static_cast<std::int64_t>(tokens.size());
  const Variable x = embedding(*context.tape, embedding_, tokens, rows, 1);
  if (!memory_) {
    return rms_norm(*context.tape, decode_layers(context, x, state, segments), norm_, config_.norm_epsilon);
  }
  std::vector<std::int64_t> begin, read, positions;
  for (std::size_t row = 0; row < context.lanes.size(); ++row) {
    if (context.positions[row] < 0 || context.positions[row] >= config_.segment_length) {
      throw ShapeError(fmt::format("decode: position {} of lane {} is outside its segment of {} tokens",
                                   context.positions[row], context.lanes[row], config_.segment_length));
    }
    positions.push_back(context.positions[row] + memory_->rows_in_front());
    if (context.positions[row] > 0) continue;
    begin.push_back(context.lanes[row]);
    read.push_back(context.read[row]);
  }
  if (!begin.empty()) {
    DecodeContext beginning = context;
    beginning.lanes = begin;
    beginning.read = read;
    decode_rows(beginning, memory_->rows_of(context.tape->pool(), begin, read, state.model), 0, state, segments);
  }
  DecodeContext behind = context;
  behind.positions = positions;
  return rms_norm(*context.tape, decode_layers(behind, x, state, segments), norm_, config_.norm_epsilon);
}

Variable LanguageModel::decode_layers(const DecodeContext& context, Variable x, const SequenceState& state,
                                      std::vector<LayerState>& segments) const {
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i].decode(context, x, state.layers[i], segments[i]);
  }
  return x;
}

Tensor LanguageModel::decode_rows(const DecodeContext& context, const Tensor& rows, std::int64_t first,
                                  const SequenceState& state, std::vector<LayerState>& segments) const {
  const std::int64_t lanes = rows.shape()[0], count = rows.shape()[1];
  std::vector<Variable> outputs;
  std::vector<RowPick> back(static_cast<std::size_t>(lanes * count));
  for (std::int64_t i = 0; i < count; ++i) {
    std::vector<RowPick> picks;
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      picks.push_back({0, lane * count + i});
      back[static_cast<std::size_t>(lane * count + i)] = {i, lane};
    }
    const std::vector<std::int64_t> positions(static_cast<std::size_t>(lanes), first + i);
    DecodeContext here = context;
    here.positions = positions;
    const Variable x = take_rows(*context.tape, {Variable(rows)}, picks, lanes);
    outputs.push_back(decode_layers(here, x, state, segments));
  }
  return take_rows(*context.tape, outputs, back, lanes).value();
}

void LanguageModel::finish_segments(const DecodeContext& context, SequenceState& state,
                                    std::vector<LayerState>& segments) const {
  MemoryPool& pool = context.tape->pool();
  if (memory_) {
    const Tensor rows = memory_->rows_of(pool, context.lanes, context.read, state.model);
    const std::int64_t first = memory_->rows_in_front() + config_.segment_length;
    memory_->finish_segment(pool, context.lanes, decode_rows(context, rows, first, state, segments), state.model);
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    blocks_[i].attention().finish_segment(pool, context.lanes, context.read, segments[i], state.layers[i]);
  }
}

}  // namespace palimpsest
