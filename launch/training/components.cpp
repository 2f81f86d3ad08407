#include "launch/training/components.h"

#include <cstring>
#include <limits>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/output/progress.h"
#include "launch/training/state_fields.h"

namespace palimpsest {

namespace {

/// The same shape but for so many lanes.
Shape with_lanes(const Shape& shape, std::int64_t lanes) {
  std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
  extents[0] = lanes;
  return Shape(extents);
}

}  // namespace

Stateful::Tensors ParametersComponent::tensors() {
  Tensors tensors;
  for (const Parameter& parameter : parameters_) tensors.replicated.add(parameter.name, parameter.master);
  return tensors;
}

void ParametersComponent::restore(const nlohmann::json&) {
  for (Parameter& parameter : parameters_) parameter.refresh();
}

Stateful::Tensors OptimizerComponent::tensors() {
  Tensors tensors;
  optimizer_.visit_state([&](const std::string& name, Tensor& tensor, const Optimizer::StatePlace& place) {
    (place.cut ? tensors.owned : tensors.replicated)
        .add_slice(name.substr(std::string_view("optimizer/").size()), place.whole, place.begin, tensor);
  });
  return tensors;
}

void OptimizerComponent::restore(const nlohmann::json& state) { optimizer_.set_step(whole_number(state, "step")); }

Stateful::Tensors CarriedComponent::tensors() {
  Tensors tensors;
  joined_ = {};
  if (!setting_.carries) return tensors;
  state_.memories.front().for_each([&](const std::string& name, const Tensor& first) {
    // A checkpoint of bfloat16 activations is read where there is no bfloat16, too.
    joined_.add(name, Tensor(setting_.pool, with_lanes(first.shape(), own_rows()), accumulate_type(first.data_type())));
  });
  for_each_lane([&](const SequenceState& memory, std::int64_t lane, std::int64_t row) {
    memory.for_each([&](const std::string& name, const Tensor& part) {
      Tensor target = Tensor(joined_.at(name)).rows(row, row + 1);
      copy(part.rows(lane, lane + 1), target);
    });
  });
  for (const StateDictionary::Entry& entry : joined_) {
    const Shape whole = with_lanes(entry.shape, rows());
    (setting_.saves ? tensors.owned : tensors.read)
        .add_slice(entry.name, whole, first_row() * (whole.elements() / rows()), entry.tensor);
  }
  return tensors;
}

std::int64_t CarriedComponent::own_rows() const {
  std::int64_t count = 0;
  for (const SequenceState& memory : state_.memories) count += memory.lanes();
  return count;
}

template <class Use>
void CarriedComponent::for_each_lane(const Use& use) const {
  const std::size_t of_a_place = state_.memories.size() / static_cast<std::size_t>(setting_.places);
  for (std::size_t i = 0; i < state_.memories.size(); ++i) {
    SequenceState& memory = state_.memories[i];
    const auto place = static_cast<std::int64_t>(i / of_a_place);
    const std::int64_t before = static_cast<std::int64_t>(i % of_a_place) * memory.lanes();
    for (std::int64_t lane = 0; lane < memory.lanes(); ++lane) {
      use(memory, lane, (before + lane) * setting_.places + place);
    }
  }
}

nlohmann::json CarriedComponent::state() {
  const auto of_all_lanes = [&](std::vector<std::int64_t> SequenceState::*numbers) {
    std::vector<std::int64_t> mine, all;
    if (setting_.saves) {
      mine.resize(static_cast<std::size_t>(own_rows()));
      for_each_lane([&](const SequenceState& memory, std::int64_t lane, std::int64_t row) {
        mine[static_cast<std::size_t>(row)] = (memory.*numbers)[static_cast<std::size_t>(lane)];
      });
    }
    for (const std::vector<std::byte>& bytes : setting_.communicator.all_gather(std::as_bytes(std::span(mine)))) {
      std::vector<std::int64_t> theirs(bytes.size() / sizeof(std::int64_t));
      if (!theirs.empty()) std::memcpy(theirs.data(), bytes.data(), bytes.size());
      all.insert(all.end(), theirs.begin(), theirs.end());
    }
    return all;
  };
  return {{"documents", of_all_lanes(&SequenceState::documents)}, {"tokens", of_all_lanes(&SequenceState::tokens)}};
}

void CarriedComponent::restore(const nlohmann::json& state) {
  const std::vector<std::int64_t> documents = whole_numbers(state, "documents", no_document);
  // Before version 3 nobody counted tokens, and nothing that was there then asks for them.
  const std::vector<std::int64_t> tokens =
      state.contains("tokens") ? whole_numbers(state, "tokens", 0) : std::vector<std::int64_t>(documents.size(), 0);
  if (!setting_.carries) return;
  for (const std::size_t found : {documents.size(), tokens.size()}) {
    if (static_cast<std::int64_t>(found) == rows()) continue;
    throw DataError(
        fmt::format("it is that of {} lanes{}, expected {}", found, setting_.places > 1 ? " and places" : "", rows()));
  }
  for_each_lane([&](SequenceState& memory, std::int64_t lane, std::int64_t row) {
    memory.for_each([&](const std::string& name, Tensor& part) {
      Tensor target = part.rows(lane, lane + 1);
      copy(Tensor(joined_.at(name)).rows(row, row + 1), target);
    });
    const auto at = static_cast<std::size_t>(lane), in_all = static_cast<std::size_t>(first_row() + row);
    memory.documents[at] = documents[in_all];
    memory.tokens[at] = tokens[in_all];
  });
  joined_ = {};
}

void LossSpikeComponent::restore(const nlohmann::json& state) { detector_.restore(numbers(state, "window")); }

nlohmann::json ProgressComponent::state() {
  return {{"step", progress_.step},
          {"tokens", progress_.tokens},
          {"skipped_steps", progress_.skipped_steps},
          {"consecutive_skips", progress_.consecutive_skips}};
}

void ProgressComponent::restore(const nlohmann::json& state) {
  progress_ = {whole_number(state, "step"), whole_number(state, "tokens"), whole_number(state, "skipped_steps"),
               whole_number(state, "consecutive_skips")};
}

nlohmann::json TokenizerComponent::state() {
  return {{"identity", record_.identity}, {"model", to_hexadecimal(record_.model)}};
}

void TokenizerComponent::restore(const nlohmann::json& state) {
  record_ = {state.at("identity").get<std::string>(), from_hexadecimal(state.at("model").get<std::string>())};
}

std::string Origin::describe() const {
  return fmt::format("{} with {} each on {}", format_plural(ranks, "rank"), format_plural(threads, "thread"),
                     instruction_set);
}

nlohmann::json OriginComponent::state() {
  return {{"ranks", own_.ranks}, {"threads", own_.threads}, {"instruction_set", own_.instruction_set}};
}

void OriginComponent::restore(const nlohmann::json& state) {
  constexpr std::int64_t most = std::numeric_limits<int>::max();
  restored_ = {static_cast<int>(whole_number(state, "ranks", 1, most)),
               static_cast<int>(whole_number(state, "threads", 1, most)),
               state.at("instruction_set").get<std::string>()};
}

}  // namespace palimpsest
