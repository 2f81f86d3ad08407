#include "layers/decode_state.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/sequence_layout.h"
#include "layers/rows_at_once.h"

namespace palimpsest {

/// What is left to do in a call, and what has come of it.
struct DecodeState::Pending {
  std::vector<std::span<const std::int32_t>> tokens;  // of every lane
  Tensor hidden;                                      // (lanes, hidden_size), after the last token of each

  std::int64_t left(std::int64_t lane) const {
    return static_cast<std::int64_t>(tokens[static_cast<std::size_t>(lane)].size());
  }
  std::span<const std::int32_t> take(std::int64_t lane, std::int64_t count) {
    auto& all = tokens[static_cast<std::size_t>(lane)];
    const auto taken = all.first(static_cast<std::size_t>(count));
    all = all.subspan(static_cast<std::size_t>(count));
    return taken;
  }
  void keep(std::int64_t lane, const Tensor& row) {
    Tensor target = hidden.rows(lane, lane + 1);
    copy(row.reshaped(target.shape()), target);
  }
};

DecodeState::DecodeState(const LanguageModel& model, MemoryPool& pool, std::int64_t lanes)
    : model_(&model), pool_(&pool), state_(model.empty_state(pool, lanes)) {
  for (std::size_t layer = 0; layer < state_.layers.size(); ++layer) {
    segments_.push_back(model.attention(layer).empty_segment(pool, lanes));
  }
  positions_.assign(static_cast<std::size_t>(lanes), 0);
  rotary_ = model.rotary(pool, 0, model.config().segment_length);
}

namespace {

/// Calls visit(name, tensor) for every tensor of a snapshot, in its order.
template <class State, class Segments, class Visit>
void visit_tensors(State& state, Segments& segments, const Visit& visit) {
  state.for_each([&](const std::string& name, auto& tensor) { visit("state." + name, tensor); });
  for (std::size_t layer = 0; layer < segments.size(); ++layer) {
    for (auto& [name, tensor] : segments[layer]) visit(fmt::format("segment.layers.{}.{}", layer, name), tensor);
  }
}

/// Whether a tensor may stand for `expected`, that of one lane before any token. One that has no rows there has some
/// for every token read.
bool fits(const Tensor& tensor, const Tensor& expected, std::int64_t lanes, std::int64_t longest) {
  if (tensor.data_type() != expected.data_type() || tensor.shape().rank() != expected.shape().rank()) return false;
  if (tensor.shape()[0] != lanes) return false;
  for (int axis = 1; axis < expected.shape().rank(); ++axis) {
    const std::int64_t found = tensor.shape()[axis], wanted = expected.shape()[axis];
    const bool grows = axis == 1 && wanted == 0;
    if (grows ? found < longest : found != wanted) return false;
  }
  return true;
}

}  // namespace

DecodeState::DecodeState(const LanguageModel& model, MemoryPool& pool, const DecodeSnapshot& snapshot)
    : DecodeState(model, pool, 1) {
  constexpr std::int64_t most_tokens = std::int64_t{1} << 60;
  const std::int64_t segment = model.config().segment_length, count = snapshot.lanes();
  if (count < 1 || snapshot.open.size() != snapshot.finished.size()) {
    throw DataError(fmt::format("a state of {} lanes with {} open segments: expected as many, and at least one", count,
                                snapshot.open.size()));
  }
  for (std::size_t lane = 0; lane < snapshot.finished.size(); ++lane) {
    const std::int64_t finished = snapshot.finished[lane], open = snapshot.open[lane];
    if (finished < 0 || finished > most_tokens || finished % segment != 0 || open < 0 || open >= segment) {
      throw DataError(
          fmt::format("lane {} has {} tokens in finished segments and {} in an open one: expected whole "
                      "segments of {} tokens and fewer than one",
                      lane, finished, open, segment));
    }
  }
  const std::int64_t longest = std::ranges::max(snapshot.finished);
  std::map<std::string_view, const Tensor*> found;
  for (const auto& [name, tensor] : snapshot.tensors) found.emplace(name, &tensor);
  visit_tensors(state_, segments_, [&](const std::string& name, Tensor& tensor) {
    const auto entry = found.extract(name);
    if (entry.empty()) throw DataError(fmt::format("a state without {}, which the model needs", name));
    if (!fits(*entry.mapped(), tensor, count, longest)) {
      throw DataError(fmt::format("{} is {} of {}: expected {} of {} for each of {} lanes, with rows for {} tokens",
                                  name, entry.mapped()->shape().to_string(), name_of(entry.mapped()->data_type()),
                                  tensor.shape().to_string(), name_of(tensor.data_type()), count, longest));
    }
    tensor = *entry.mapped();
  });
  if (!found.empty()) throw DataError(fmt::format("a state with {}, which the model has not", found.begin()->first));
  state_.tokens = snapshot.finished;
  positions_ = snapshot.open;
  state_.documents.clear();
  for (const std::int64_t finished : snapshot.finished) state_.documents.push_back(finished > 0 ? 0 : no_document);
}

DecodeSnapshot DecodeState::snapshot() const {
  DecodeSnapshot result{{}, state_.tokens, positions_};
  visit_tensors(state_, segments_, [&](std::string name, const Tensor& tensor) {
    result.tensors.push_back({std::move(name), tensor});
  });
  return result;
}

DecodeState DecodeState::copies(std::int64_t lanes) const {
  if (this->lanes() != 1) {
    throw ShapeError(fmt::format("DecodeState::copies of {} lanes: expected one", this->lanes()));
  }
  const Lanes first(static_cast<std::size_t>(lanes), 0);
  DecodeState result(*model_, *pool_, lanes);
  result.state_ = select_lanes(*pool_, state_, first);
  for (std::size_t layer = 0; layer < segments_.size(); ++layer) {
    result.segments_[layer] = select_lanes(*pool_, segments_[layer], first);
  }
  result.positions_ = of(first, positions_);
  return result;
}

void DecodeState::rearrange(std::span<const std::int64_t> sources) {
  if (static_cast<std::int64_t>(sources.size()) != lanes()) {
    throw ShapeError(fmt::format("DecodeState::rearrange: {} lanes of {}", sources.size(), lanes()));
  }
  Lanes changed, from;
  for (std::int64_t lane = 0; lane < lanes(); ++lane) {
    const std::int64_t source = sources[static_cast<std::size_t>(lane)];
    if (source == lane) continue;
    changed.push_back(lane);
    from.push_back(source);
  }
  if (changed.empty()) return;
  const SequenceState moved = select_lanes(*pool_, state_, from);
  replace_lanes(*pool_, state_.model, changed, moved.model);
  for (std::size_t layer = 0; layer < segments_.size(); ++layer) {
    replace_lanes(*pool_, state_.layers[layer], changed, moved.layers[layer]);
    replace_lanes(*pool_, segments_[layer], changed, select_lanes(*pool_, segments_[layer], from));
  }
  const Lanes positions = of(from, positions_);
  for (std::size_t i = 0; i < changed.size(); ++i) {
    const auto lane = static_cast<std::size_t>(changed[i]);
    state_.tokens[lane] = moved.tokens[i];
    state_.documents[lane] = moved.documents[i];
    positions_[lane] = positions[i];
  }
}

void DecodeState::forget(std::int64_t lane) {
  const auto index = static_cast<std::size_t>(lane);
  state_.tokens.at(index) = 0;
  state_.documents.at(index) = no_document;
  positions_.at(index) = 0;
}

std::int64_t DecodeState::tokens(std::int64_t lane) const {
  const auto index = static_cast<std::size_t>(lane);
  return state_.tokens.at(index) + positions_.at(index);
}

std::vector<std::int64_t> DecodeState::of(const Lanes& lanes, const std::vector<std::int64_t>& values) const {
  std::vector<std::int64_t> result;
  for (const std::int64_t lane : lanes) result.push_back(values[static_cast<std::size_t>(lane)]);
  return result;
}

Tensor DecodeState::advance(std::span<const std::int32_t> tokens) {
  const std::vector<std::int32_t> only(tokens.begin(), tokens.end());
  return advance(std::span(&only, 1)).reshaped(Shape{model_->config().vocab_size});
}

Tensor DecodeState::advance(std::span<const std::vector<std::int32_t>> tokens) {
  if (static_cast<std::int64_t>(tokens.size()) != lanes()) {
    throw ShapeError(fmt::format("DecodeState::advance: tokens for {} lanes of {}", tokens.size(), lanes()));
  }
  if (std::ranges::all_of(tokens, [](const auto& of_lane) { return of_lane.empty(); })) {
    throw ShapeError("DecodeState::advance needs at least one token");
  }
  Pending pending{{tokens.begin(), tokens.end()},
                  Tensor::zeros(*pool_, Shape{lanes(), model_->config().hidden_size}, model_->compute_type())};
  const std::int64_t segment = model_->config().segment_length;
  while (true) {
    // A segment that has begun is finished token by token; whole ones go together, and so do those that stay open.
    Lanes stepping, whole, partial;
    std::int64_t segments = std::max<std::int64_t>(rows_at_once / segment, 1), longest = 0;
    for (std::int64_t lane = 0; lane < lanes(); ++lane) {
      const std::int64_t left = pending.left(lane);
      if (left == 0) continue;
      if (positions_[static_cast<std::size_t>(lane)] > 0 || left == 1) {
        stepping.push_back(lane);
      } else if (left >= segment) {
        whole.push_back(lane);
        segments = std::min(segments, left / segment);
      } else {
        partial.push_back(lane);
        longest = std::max(longest, left);
      }
    }
    if (stepping.empty() && whole.empty() && partial.empty()) break;
    if (!stepping.empty()) step(pending, stepping);
    if (!whole.empty()) {
      const std::int64_t fit = rows_at_once / segment / static_cast<std::int64_t>(whole.size());
      pass(pending, whole, segment * std::clamp<std::int64_t>(fit, 1, segments));
    }
    if (!partial.empty()) pass(pending, partial, longest);
  }
  Tensor logits = model_->head(*pool_, pending.hidden);
  for (std::int64_t lane = 0; lane < lanes(); ++lane) {
    if (!tokens[static_cast<std::size_t>(lane)].empty()) continue;
    Tensor row = logits.rows(lane, lane + 1);
    fill(row, 0.0);
  }
  return logits;
}

void DecodeState::pass(Pending& pending, const Lanes& lanes, std::int64_t count) {
  const std::int64_t segment = model_->config().segment_length;
  const bool whole = count % segment == 0;
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> documents, taken;
  for (const std::int64_t lane : lanes) {
    // Lanes with fewer tokens are filled up with those of another document, which nothing is kept of.
    taken.push_back(std::min(count, pending.left(lane)));
    const auto mine = pending.take(lane, taken.back());
    tokens.insert(tokens.end(), mine.begin(), mine.end());
    documents.insert(documents.end(), mine.size(), 0);
    tokens.resize(tokens.size() + static_cast<std::size_t>(count - taken.back()), 0);
    documents.resize(tokens.size(), 1);
  }
  const bool all = static_cast<std::int64_t>(lanes.size()) == this->lanes();
  const SequenceState before = all ? state_ : select_lanes(*pool_, state_, lanes);
  const auto layout = std::make_shared<const SequenceLayout>(make_layout(documents, before.documents, segment));
  Tape tape(*pool_, Tape::Mode::inference);
  ForwardContext context = model_->context(tape, layout, before.tokens);
  context.keeps_open = !whole;
  LanguageModel::Result result = model_->forward(context, tokens, constants_of(before));
  for (std::size_t row = 0; row < lanes.size(); ++row) {
    const std::int64_t lane = lanes[row], last = static_cast<std::int64_t>(row) * count + taken[row] - 1;
    pending.keep(
        lane, result.hidden.value().reshaped(Shape{layout->rows(), model_->config().hidden_size}).rows(last, last + 1));
    const auto index = static_cast<std::size_t>(lane);
    if (whole) {
      state_.tokens[index] += count;
      state_.documents[index] = 0;
    } else {
      for (std::size_t layer = 0; layer < segments_.size(); ++layer) {
        model_->attention(layer).open_segment(*pool_, result.open[layer], static_cast<std::int64_t>(row), taken[row],
                                              *context.rotary, lane, segments_[layer]);
      }
      positions_[index] = taken[row];
    }
  }
  if (!whole) return;
  const auto replace = [&](LayerState& state, LayerState after, const LayerVariables& values) {
    for (std::size_t i = 0; i < after.size(); ++i) after[i].tensor = values[i].value();
    if (all) {
      state = std::move(after);
    } else {
      replace_lanes(*pool_, state, lanes, after);
    }
  };
  replace(state_.model, before.model, result.state.model);
  for (std::size_t layer = 0; layer < segments_.size(); ++layer) {
    replace(state_.layers[layer], before.layers[layer], result.state.layers[layer]);
  }
}

void DecodeState::step(Pending& pending, const Lanes& lanes) {
  std::vector<std::int32_t> tokens;
  for (const std::int64_t lane : lanes) tokens.push_back(pending.take(lane, 1).front());
  const std::vector<std::int64_t> positions = of(lanes, positions_), read = of(lanes, state_.tokens);
  const std::int64_t longest = std::ranges::max(read), segment = model_->config().segment_length;
  if (model_->rotary_positions(longest, segment) > rotary_->positions()) {
    rotary_ = model_->rotary(*pool_, 2 * longest, segment);
  }
  Tape tape(*pool_, Tape::Mode::inference);
  const DecodeContext context{&tape, lanes, positions, read, rotary_.get()};
  const Variable hidden = model_->decode(context, tokens, state_, segments_);
  Lanes full;
  for (std::size_t row = 0; row < lanes.size(); ++row) {
    const auto at = static_cast<std::int64_t>(row);
    pending.keep(lanes[row], hidden.value().rows(at, at + 1));
    if (++positions_[static_cast<std::size_t>(lanes[row])] == segment) full.push_back(lanes[row]);
  }
  if (!full.empty()) finish_segments(full);
}

void DecodeState::finish_segments(const Lanes& lanes) {
  const std::vector<std::int64_t> read = of(lanes, state_.tokens);
  Tape tape(*pool_, Tape::Mode::inference);
  model_->finish_segments({&tape, lanes, {}, read, rotary_.get()}, state_, segments_);
  for (const std::int64_t lane : lanes) {
    const auto index = static_cast<std::size_t>(lane);
    state_.tokens[index] += model_->config().segment_length;
    state_.documents[index] = 0;
    positions_[index] = 0;
  }
}

}  // namespace palimpsest
