#include "launch/search/document_memory.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <numeric>

#include <fmt/format.h>

#include "core/error.h"
#include "layers/attention/registry.h"
#include "layers/rows_at_once.h"

namespace palimpsest {

namespace {

/// Passes `tokens`, (lanes, tokens), which go on with the documents of `state`.
LanguageModel::Result pass(const LanguageModel& model, MemoryPool& pool, const SequenceState& state,
                           std::span<const std::int32_t> tokens, std::span<const float> write_weights = {}) {
  const std::vector<std::int64_t> documents(tokens.size(), 0);
  Tape tape(pool, Tape::Mode::inference);
  const auto layout = std::make_shared<const SequenceLayout>(
      make_layout(documents, state.documents, model.config().segment_length, write_weights));
  return model.forward(model.context(tape, layout, state.tokens), tokens, constants_of(state));
}

void replace(LayerState& state, const LayerVariables& values) {
  for (std::size_t i = 0; i < state.size(); ++i) state[i].tensor = values[i].value();
}

void replace(SequenceState& state, const StateVariables& values) {
  replace(state.model, values.model);
  for (std::size_t layer = 0; layer < state.layers.size(); ++layer) replace(state.layers[layer], values.layers[layer]);
}

std::int64_t segments_of(const LanguageModel& model, std::int64_t tokens) {
  return (tokens + model.config().segment_length - 1) / model.config().segment_length;
}

/// Whether tokens that are not written leave no trace in a state: M and z alone are made of what is written.
bool may_be_filled_up(const LanguageModel& model) {
  const AttentionConfig& attention = model.config().attention;
  return attention.kind == AttentionKind::infini && attention.overlap == 0;
}

}  // namespace

void require_document_memory(const LanguageModel& model) {
  const AttentionTraits& traits = traits_of(model.config().attention.kind);
  MemoryPool pool;
  bool any = false;
  model.empty_state(pool, 1).for_each(
      [&](const std::string&, const Tensor& tensor) { any = any || tensor.elements(); });
  if (any && traits.constant_state) return;
  throw ConfigError(fmt::format(
      "the model's attention is {}, {}: expected a memory of constant size, as infini has it", traits.name,
      traits.constant_state ? "which keeps nothing of a document" : "whose memory grows with the document"));
}

SequenceState read_document(const LanguageModel& model, MemoryPool& pool, std::span<const std::int32_t> tokens,
                            const std::function<bool()>& goes_on) {
  const std::int64_t segment = model.config().segment_length;
  const auto at_once = static_cast<std::size_t>(std::max<std::int64_t>(rows_at_once / segment, 1) * segment);
  SequenceState state = model.empty_state(pool, 1);
  while (!tokens.empty()) {
    const auto part = tokens.first(std::min(at_once, tokens.size()));
    tokens = tokens.subspan(part.size());
    const LanguageModel::Result result = pass(model, pool, state, part);
    replace(state, result.state);
    state.tokens.front() += static_cast<std::int64_t>(part.size());
    state.documents.front() = 0;
    if (goes_on && !goes_on()) break;
  }
  return state;
}

SequenceState read_documents(const LanguageModel& model, MemoryPool& pool,
                             std::span<const std::vector<std::int32_t>> documents) {
  if (documents.empty()) throw ShapeError("no documents to read side by side");
  std::vector<std::int64_t> lengths;
  lengths.reserve(documents.size());
  for (const std::vector<std::int32_t>& document : documents) {
    lengths.push_back(static_cast<std::int64_t>(document.size()));
  }
  const auto [shortest, longest] = std::ranges::minmax(lengths);
  if (segments_of(model, shortest) != segments_of(model, longest) ||
      (shortest != longest && !may_be_filled_up(model))) {
    throw ShapeError(fmt::format("documents of {} and {} tokens cannot be read side by side", shortest, longest));
  }
  std::vector<std::int32_t> tokens;
  std::vector<float> write_weights;  // of what fills a lane up: 0
  for (const std::vector<std::int32_t>& document : documents) {
    tokens.insert(tokens.end(), document.begin(), document.end());
    if (shortest == longest) continue;
    write_weights.insert(write_weights.end(), document.size(), 1.0F);
    tokens.resize(tokens.size() + static_cast<std::size_t>(longest) - document.size(), 0);
    write_weights.resize(tokens.size(), 0.0F);
  }
  SequenceState state = model.empty_state(pool, static_cast<std::int64_t>(documents.size()));
  const LanguageModel::Result result = pass(model, pool, state, tokens, write_weights);
  replace(state, result.state);
  for (std::size_t lane = 0; lane < documents.size(); ++lane) {
    state.tokens[lane] = lengths[lane];
    state.documents[lane] = 0;
  }
  return state;
}

std::vector<std::vector<std::size_t>> side_by_side(const LanguageModel& model, std::span<const std::int64_t> lengths,
                                                   std::int64_t most) {
  std::vector<std::size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t place) { return lengths[place]; });
  std::vector<std::vector<std::size_t>> groups;
  for (const std::size_t place : order) {
    const std::int64_t length = lengths[place], longest = groups.empty() ? 0 : lengths[groups.back().front()];
    const auto together = groups.empty() ? 0 : static_cast<std::int64_t>(groups.back().size());
    const bool alike =
        may_be_filled_up(model) ? segments_of(model, length) == segments_of(model, longest) : length == longest;
    if (together == 0 || together >= most || !alike || (together + 1) * longest > rows_at_once) groups.emplace_back();
    groups.back().push_back(place);
  }
  return groups;
}

std::vector<double> query_log_likelihoods(const LanguageModel& model, MemoryPool& pool, const SequenceState& documents,
                                          std::span<const std::int32_t> before, std::span<const std::int32_t> query) {
  const std::vector<std::vector<std::int32_t>> all(documents.tokens.size(), {before.begin(), before.end()});
  return query_log_likelihoods_each(model, pool, documents, all, query);
}

std::vector<double> query_log_likelihoods_each(const LanguageModel& model, MemoryPool& pool,
                                               const SequenceState& documents,
                                               std::span<const std::vector<std::int32_t>> before,
                                               std::span<const std::int32_t> query) {
  const std::size_t lanes = documents.tokens.size();
  if (before.size() != lanes)
    throw ShapeError(fmt::format("texts before {} queries in {} lanes", before.size(), lanes));
  std::size_t longest = 0;
  for (const std::vector<std::int32_t>& tokens : before) {
    if (tokens.empty() || query.empty()) {
      throw ShapeError(
          fmt::format("a query of {} tokens after {}: expected at least one of each", query.size(), tokens.size()));
    }
    longest = std::max(longest, tokens.size());
  }
  // What fills up a lane stands behind the query, which does not see it.
  const std::size_t width = longest + query.size() - 1;
  std::vector<std::int32_t> tokens(lanes * width, 0), targets(lanes * width, 0);
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    const auto row = tokens.begin() + static_cast<std::ptrdiff_t>(lane * width);
    const auto first = std::ranges::copy(before[lane], row).out;
    std::ranges::copy(query.first(query.size() - 1), first);
    std::ranges::copy(query, targets.begin() + (first - tokens.begin()) - 1);
  }
  const LanguageModel::Result result = pass(model, pool, documents, tokens);
  const std::vector<double> losses = model.token_losses(pool, result.hidden.value(), targets);
  std::vector<double> likelihoods;
  likelihoods.reserve(lanes);
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    const std::size_t first = lane * width + before[lane].size() - 1;
    double sum = 0;
    for (std::size_t i = first; i < first + query.size(); ++i) sum += losses[i];
    likelihoods.push_back(-sum / static_cast<double>(query.size()));
  }
  return likelihoods;
}

}  // namespace palimpsest
