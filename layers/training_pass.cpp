#include "layers/training_pass.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "autograd/recompute.h"
#include "core/error.h"
#include "core/sequence_layout.h"
#include "core/sequence_share.h"
#include "layers/attention/registry.h"
#include "layers/contrast.h"
#include "layers/rows_at_once.h"

namespace palimpsest {

namespace {

/// Of each lane's last document: the tokens read of it, after this batch.
std::vector<std::int64_t> tokens_after(const TokenBatch& batch, const std::vector<std::int64_t>& documents_before,
                                       const std::vector<std::int64_t>& tokens_before) {
  std::vector<std::int64_t> after;
  for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
    const auto begin = batch.documents.begin() + lane * batch.tokens, end = begin + batch.tokens;
    const auto last = std::find(begin, end, *(end - 1));
    const auto index = static_cast<std::size_t>(lane);
    const bool goes_on = last == begin && *begin == documents_before[index];
    after.push_back(end - last + (goes_on ? tokens_before[index] : 0));
  }
  return after;
}

void check_batch(const TokenBatch& batch, const SequenceState& state, const ModelConfig& config) {
  const auto elements = static_cast<std::size_t>(batch.lanes * batch.tokens);
  if (batch.inputs.size() != elements || batch.targets.size() != elements || batch.documents.size() != elements ||
      batch.loss_weights.size() != elements || batch.lanes <= 0 || batch.tokens <= 0 ||
      (!batch.write_weights.empty() && batch.write_weights.size() != elements) ||
      (!batch.answers.empty() && batch.answers.size() != elements) ||
      (!batch.sources.empty() && batch.sources.size() != elements) ||
      (!batch.queries.empty() && batch.queries.size() != elements)) {
    throw ShapeError(
        fmt::format("a batch of {} lanes x {} tokens holds {} inputs, {} targets, {} document indices, {} loss "
                    "weights, {} write weights and {} marks of answers, {} of sources and {} of queries",
                    batch.lanes, batch.tokens, batch.inputs.size(), batch.targets.size(), batch.documents.size(),
                    batch.loss_weights.size(), batch.write_weights.size(), batch.answers.size(), batch.sources.size(),
                    batch.queries.size()));
  }
  if (state.lanes() != batch.lanes || state.tokens.size() != state.documents.size() ||
      static_cast<std::int64_t>(state.layers.size()) != config.num_layers) {
    throw ShapeError(fmt::format("a batch of {} lanes for {} layers, but the state is of {} lanes and {} layers",
                                 batch.lanes, config.num_layers, state.lanes(), state.layers.size()));
  }
}

/// What this rank holds of the batch; empty where it has the sequences alone.
SequenceGroup share(const ModelConfig& config, const TokenBatch& batch, const SequenceState& state,
                    Communicator* ranks) {
  if (ranks == nullptr || ranks->size() == 1) return {};
  require_shareable(config.attention.kind, ranks->size());
  return {
      .ranks = ranks,
      .share = std::make_shared<const SequenceShare>(share_sequence(
          batch.documents, state.documents, config.segment_length, ranks->rank(), ranks->size(), batch.write_weights))};
}

/// Per lane: tokens of its document that were read before the rank's share of the batch.
std::vector<std::int64_t> tokens_before(const SequenceShare& share, const TokenBatch& batch,
                                        const SequenceState& state) {
  if (share.begin == 0) return state.tokens;
  return tokens_after(columns_of(batch, 0, share.begin), state.documents, state.tokens);
}

/// The state after a pass, which knows of the documents what `batch`, all of it, says.
void replace(MemoryPool& pool, const StateVariables& after, const TokenBatch& batch, SequenceState& state) {
  for (std::size_t i = 0; i < after.layers.size(); ++i) {
    state.layers[i] = detached_copy(pool, after.layers[i], state.layers[i]);
  }
  state.model = detached_copy(pool, after.model, state.model);
  state.tokens = tokens_after(batch, state.documents, state.tokens);
  for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
    state.documents[static_cast<std::size_t>(lane)] =
        batch.documents[static_cast<std::size_t>((lane + 1) * batch.tokens - 1)];
  }
}

LayoutPointer layout_of(const TokenBatch& batch, const std::vector<std::int64_t>& carried,
                        std::int64_t segment_length) {
  return std::make_shared<const SequenceLayout>(
      make_layout(batch.documents, carried, segment_length, batch.write_weights));
}

/// What the teacher says of a chunk, if there is one.
struct Lesson {
  std::shared_ptr<const TeacherRows> teacher;
  std::shared_ptr<DistillationTotals> totals;
};

/// Whether there is anything to learn from a batch, or to count.
bool has_targets(const TokenBatch& batch) {
  return std::ranges::any_of(batch.loss_weights, [](float weight) { return weight != 0; }) ||
         std::ranges::any_of(batch.answers, [](std::uint8_t answer) { return answer != 0; });
}

/// -> the state after, flat, with the same bits as from loss_pass. Listeners hear all that they would there.
std::vector<Variable> reading_pass(const LanguageModel& model, const ForwardContext& context, const TokenBatch& chunk,
                                   const StateVariables& before) {
  const LanguageModel::Result result = model.forward(context, chunk.inputs, before);
  model.announce_head(context);
  return result.state.flat();
}

/// -> the loss, then the state after, flat.
std::vector<Variable> loss_pass(const LanguageModel& model, const ForwardContext& context, const TokenBatch& chunk,
                                const StateVariables& before, const std::shared_ptr<AnswerCounts>& counts,
                                const std::shared_ptr<std::vector<SourceTotals>>& totals, const Lesson& lesson) {
  LanguageModel::Result result = model.forward(context, chunk.inputs, before);
  std::vector<Variable> outputs{model.loss(context, result.hidden,
                                           {chunk.targets, chunk.loss_weights, chunk.answers, counts, chunk.sources,
                                            totals, lesson.teacher, lesson.totals})};
  for (Variable& variable : result.state.flat()) outputs.push_back(std::move(variable));
  return outputs;
}

/// A pass without gradients over a batch that this rank has alone.
LanguageModel::Result read(const LanguageModel& model, MemoryPool& pool, const TokenBatch& batch,
                           const SequenceState& state, bool keeps_state) {
  Tape tape(pool, Tape::Mode::inference);
  ForwardContext context =
      model.context(tape, layout_of(batch, state.documents, model.config().segment_length), state.tokens);
  context.keeps_state = keeps_state;
  return model.forward(context, batch.inputs, constants_of(state));
}

/// The same: the last norm's output. Advances the state.
Tensor inference_pass(const LanguageModel& model, MemoryPool& pool, const TokenBatch& batch, SequenceState& state) {
  const LanguageModel::Result result = read(model, pool, batch, state, /*keeps_state=*/true);
  replace(pool, result.state, batch, state);
  return result.hidden.value();
}

/// Of the lanes of a batch that this rank has alone, in groups whose activations stay in the caches. Advances the
/// state.
std::vector<double> losses_by_lanes(const LanguageModel& model, MemoryPool& pool, const TokenBatch& batch,
                                    SequenceState& state) {
  const std::int64_t together = lanes_at_once(model.config(), batch.lanes, batch.tokens);
  if (together == batch.lanes) {
    return model.token_losses(pool, inference_pass(model, pool, batch, state), batch.targets);
  }
  std::vector<double> losses;
  for (std::int64_t begin = 0; begin < batch.lanes; begin += together) {
    std::vector<std::int64_t> lanes(static_cast<std::size_t>(std::min(together, batch.lanes - begin)));
    std::iota(lanes.begin(), lanes.end(), begin);
    const TokenBatch part = lanes_of(batch, begin, begin + static_cast<std::int64_t>(lanes.size()));
    SequenceState of_part = select_lanes(pool, state, lanes);
    const std::vector<double> of_lanes =
        model.token_losses(pool, inference_pass(model, pool, part, of_part), part.targets);
    losses.insert(losses.end(), of_lanes.begin(), of_lanes.end());
    for (std::size_t i = 0; i < state.layers.size(); ++i) {
      replace_lanes(pool, state.layers[i], lanes, of_part.layers[i]);
    }
    replace_lanes(pool, state.model, lanes, of_part.model);
    std::ranges::copy(of_part.documents, state.documents.begin() + begin);
    std::ranges::copy(of_part.tokens, state.tokens.begin() + begin);
  }
  return losses;
}

/// What a teacher makes of a batch that it reads by itself, lane after lane: what its head is applied to, (lanes,
/// tokens, width). Nothing goes on from there. Undefined without a teacher.
Tensor taught(const Distillation& distillation, MemoryPool& pool, const TokenBatch& batch) {
  if (distillation.teacher == nullptr) return {};
  const LanguageModel& teacher = *distillation.teacher;
  Tensor hidden(pool, Shape{batch.lanes, batch.tokens, teacher.config().hidden_size}, teacher.compute_type());
  for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
    const TokenBatch alone = lanes_of(batch, lane, lane + 1);
    Tensor rows = hidden.rows(lane, lane + 1);
    copy(read(teacher, pool, alone, teacher.empty_state(pool, 1), /*keeps_state=*/false).hidden.value(), rows);
  }
  return hidden;
}

/// Of the tokens [begin, end) of every lane.
std::shared_ptr<const TeacherRows> lesson_of(const Distillation& distillation, MemoryPool& pool, const Tensor& taught,
                                             std::int64_t begin, std::int64_t end) {
  if (distillation.teacher == nullptr) return nullptr;
  const std::int64_t lanes = taught.shape()[0], tokens = taught.shape()[1], width = taught.shape()[2];
  Tensor hidden = taught;
  if (begin > 0 || end < tokens) {
    hidden = Tensor(pool, Shape{lanes, end - begin, width}, taught.data_type());
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      Tensor rows = hidden.rows(lane, lane + 1).reshaped(Shape{end - begin, width});
      copy(taught.rows(lane, lane + 1).reshaped(Shape{tokens, width}).rows(begin, end), rows);
    }
  }
  return std::make_shared<const TeacherRows>(
      TeacherRows{std::move(hidden), distillation.teacher->head_weight(), distillation.share});
}

/// Tokens of each lane that a pass with these options, which has the sequences alone, reads at a time.
std::int64_t tokens_at_once(const ModelConfig& config, const TokenBatch& batch, const PassOptions& options) {
  const bool sequential = options.recompute == Recompute::segment || options.schedule == Schedule::sequential;
  return sequential ? config.segment_length : batch.tokens;
}

/// The loss of every token of a batch, read `step` tokens of each lane at a time. The state stays as it is.
std::vector<double> losses_of(const LanguageModel& model, MemoryPool& pool, const TokenBatch& batch,
                              const SequenceState& state, std::int64_t step) {
  if (step >= batch.tokens) {
    return model.token_losses(pool, read(model, pool, batch, state, /*keeps_state=*/false).hidden.value(),
                              batch.targets);
  }
  std::vector<double> losses(batch.inputs.size());
  SequenceState carried = state;  // a pass replaces its tensors, and writes to none of them
  for (std::int64_t begin = 0; begin < batch.tokens; begin += step) {
    const TokenBatch chunk = columns_of(batch, begin, std::min(begin + step, batch.tokens));
    const std::vector<double> of_chunk =
        model.token_losses(pool, inference_pass(model, pool, chunk, carried), chunk.targets);
    for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
      std::copy_n(of_chunk.begin() + lane * chunk.tokens, chunk.tokens, losses.begin() + lane * batch.tokens + begin);
    }
  }
  return losses;
}

/// accumulate_gradients of a batch whose documents are contrasted: a pass without gradients, in the steps of the other
/// so that it takes no more memory, says what its tokens weigh.
double accumulate_contrasted(LanguageModel& model, MemoryPool& pool, const TokenBatch& batch, SequenceState& state,
                             const PassOptions& options) {
  require_contrast(model.config().attention);
  if (options.sequence_ranks != nullptr && options.sequence_ranks->size() > 1) {
    throw ConfigError("ranks that share a sequence cannot contrast its documents");
  }
  if (options.distillation.teacher != nullptr) throw ConfigError("contrasted documents cannot have a teacher");
  if (options.events.needed) options.events.needed(0, model.parameters().size());
  const std::vector<double> losses =
      losses_of(model, pool, batch, state, tokens_at_once(model.config(), batch, options));
  TokenBatch weighted = batch;
  weighted.loss_weights = contrasted_weights(batch, losses, options.contrast);
  PassOptions plain = options;
  plain.contrast = {};
  accumulate_gradients(model, pool, weighted, state, plain);
  double loss = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    if (batch.loss_weights[i] != 0) loss += static_cast<double>(batch.loss_weights[i]) * losses[i];
  }
  return loss;
}

}  // namespace

double accumulate_gradients(LanguageModel& model, MemoryPool& pool, const TokenBatch& batch, SequenceState& state,
                            const PassOptions& options) {
  const ModelConfig& config = model.config();
  check_batch(batch, state, config);
  if (options.contrast.weight > 0 && !batch.queries.empty()) {
    return accumulate_contrasted(model, pool, batch, state, options);
  }
  if (options.schedule == Schedule::automatic || options.recompute == Recompute::automatic) {
    throw ConfigError("a pass takes its schedule and what it recomputes from plan_pass: neither can be automatic");
  }
  const bool recomputing = options.recompute == Recompute::segment;
  if (!recomputing) require_schedule(config.attention.kind, options.schedule);
  SequenceGroup sequence = share(config, batch, state, options.sequence_ranks);
  sequence.overlaps = options.overlap_memory;
  if (sequence && recomputing) throw ConfigError("ranks that share a sequence cannot recompute it segment by segment");
  if (sequence && options.distillation.teacher) throw ConfigError("ranks that share a sequence cannot have a teacher");
  const std::int64_t step = sequence ? batch.tokens : tokens_at_once(config, batch, options);

  const bool learns = has_targets(batch);
  const Distillation& distillation = learns ? options.distillation : Distillation{};
  const Tensor of_teacher = taught(distillation, pool, batch);
  const auto distilled = std::make_shared<DistillationTotals>();
  Tape tape(pool, learns ? Tape::Mode::record : Tape::Mode::inference, options.profile);
  StateVariables carried = constants_of(state);
  std::vector<std::int64_t> documents = state.documents, tokens = state.tokens;
  const StateVariables form = carried.like(std::vector<Variable>(carried.flat().size()));  // nothing but its sizes
  std::vector<Variable> losses;
  const auto counts = std::make_shared<AnswerCounts>();
  std::shared_ptr<std::vector<SourceTotals>> totals;
  if (options.sources != nullptr) totals = std::make_shared<std::vector<SourceTotals>>(*options.sources);
  for (std::int64_t begin = 0; begin < batch.tokens; begin += step) {
    auto chunk = std::make_shared<const TokenBatch>(
        sequence ? tokens_of(*sequence.share, batch) : columns_of(batch, begin, std::min(begin + step, batch.tokens)));
    const LayoutPointer layout = sequence ? sequence.layout() : layout_of(*chunk, documents, config.segment_length);
    ForwardContext context =
        model.context(tape, layout, sequence ? tokens_before(*sequence.share, batch, state) : tokens);
    context.recompute = options.recompute;
    context.sequence = sequence;
    // Forward passes the first segments first, when parameters may not be there yet, and backward passes them last:
    // only then are gradients final.
    if (begin == 0) context.listener = std::make_shared<const ParameterEvents>(options.events);
    const Lesson lesson = {lesson_of(distillation, pool, of_teacher, begin, std::min(begin + step, batch.tokens)),
                           distilled};
    const auto pass = [&model, chunk, context, form, counts, totals, lesson, learns](Tape& on,
                                                                                     std::span<const Variable> before) {
      ForwardContext here = context;
      here.tape = &on;
      if (!learns) return reading_pass(model, here, *chunk, form.like(before));
      return loss_pass(model, here, *chunk, form.like(before), counts, totals, lesson);
    };
    std::vector<Variable> outputs = recomputing ? recompute(tape, pass, carried.flat()) : pass(tape, carried.flat());
    if (learns) losses.push_back(outputs.front());
    carried = form.like(std::span(outputs).last(outputs.size() - (learns ? 1 : 0)));
    tokens = tokens_after(*chunk, documents, tokens);
    documents = layout->last_document;
  }

  replace(pool, carried, batch, state);
  carried = {};
  for (const Variable& loss : losses) {
    auto seed = loss.gradient_target(pool);
    fill(seed.view, options.loss_scale);
  }
  tape.backward_from_gradients();
  double sum = 0;
  for (const Variable& loss : losses) sum += loss.value().to_doubles().front();
  if (options.answers != nullptr) {
    options.answers->right += counts->right;
    options.answers->all += counts->all;
  }
  if (totals) *options.sources = *totals;
  if (options.distillation.totals != nullptr) {
    options.distillation.totals->loss += distilled->loss;
    options.distillation.totals->divergence += distilled->divergence;
  }
  return sum;
}

std::vector<double> token_losses(const LanguageModel& model, MemoryPool& pool, const TokenBatch& batch,
                                 SequenceState& state, Communicator* sequence_ranks) {
  check_batch(batch, state, model.config());
  const SequenceGroup sequence = share(model.config(), batch, state, sequence_ranks);
  if (!sequence) return losses_by_lanes(model, pool, batch, state);

  const SequenceShare& share = *sequence.share;
  const TokenBatch mine = tokens_of(share, batch);
  Tape tape(pool, Tape::Mode::inference);
  ForwardContext context = model.context(tape, sequence.layout(), tokens_before(share, batch, state));
  context.sequence = sequence;
  const LanguageModel::Result result = model.forward(context, mine.inputs, constants_of(state));
  replace(pool, result.state, batch, state);
  std::vector<double> losses(batch.inputs.size(), 0.0);
  if (share.idle()) return losses;
  const std::vector<double> of_mine = model.token_losses(pool, result.hidden.value(), mine.targets);
  for (std::int64_t lane = 0; lane < batch.lanes; ++lane) {
    std::copy_n(of_mine.begin() + lane * mine.tokens, mine.tokens, losses.begin() + lane * batch.tokens + share.begin);
  }
  return losses;
}

Tensor logits(const LanguageModel& model, MemoryPool& pool, const TokenBatch& batch, SequenceState& state) {
  check_batch(batch, state, model.config());
  return model.head(pool, inference_pass(model, pool, batch, state));
}

}  // namespace palimpsest
