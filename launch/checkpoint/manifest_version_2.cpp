#include "launch/checkpoint/manifest_version_2.h"

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

using nlohmann::json;

json upgraded_state(const json& old) {
  const json skips = old.contains("consecutive_skips") ? old.at("consecutive_skips") : json(0u);  // not in early ones
  const json window = old.contains("loss_window") ? old.at("loss_window") : json::array();
  return {
      {"progress",
       {{"step", old.at("step")},
        {"tokens", old.at("tokens")},
        {"skipped_steps", old.at("skipped_steps")},
        {"consecutive_skips", skips}}},
      {"parameters", json::object()},
      {"optimizer", {{"step", old.at("optimizer_step")}}},
      {"state", {{"documents", old.at("memory_documents")}}},
      {"cursor", old.at("cursor")},
      {"loss_spike", {{"window", window}}},
      {"tokenizer", old.at("tokenizer")},
      {"origin",
       {{"ranks", old.at("ranks")}, {"threads", old.at("threads")}, {"instruction_set", old.at("instruction_set")}}}};
}

/// One lane's tensor (1, ...) becomes a part of that of all lanes (lanes, ...).
void upgrade_slice(StoredSlice& slice, std::int64_t lanes) {
  constexpr std::string_view prefix = "memory/lane-";
  if (!slice.name.starts_with(prefix)) return;
  const auto refuse = [&] {
    throw FileError(fmt::format("'{}' of shape {} is not the memory of one of {} lanes", slice.name,
                                slice.shape.to_string(), lanes));
  };
  const std::string name = slice.name.substr(prefix.size());
  std::int64_t lane = -1;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), lane);
  const std::size_t layer = static_cast<std::size_t>(parsed.ptr - name.data()), quantity = name.find('/', layer + 1);
  if (parsed.ec != std::errc() || lane < 0 || lane >= lanes || layer >= name.size() || name[layer] != '/' ||
      quantity == std::string::npos || slice.shape.rank() < 1 || slice.shape[0] != 1) {
    refuse();
  }
  slice.name = fmt::format("state/{}.{}", name.substr(layer + 1, quantity - layer - 1), name.substr(quantity + 1));
  std::vector<std::int64_t> extents(slice.shape.extents().begin(), slice.shape.extents().end());
  const std::int64_t elements = slice.shape.elements();
  extents[0] = lanes;
  slice.shape = Shape(extents);  // throws where the product is too large
  slice.begin += lane * elements;
  slice.end += lane * elements;
}

}  // namespace

void upgrade_from_version_2(CheckpointManifest& manifest) {
  manifest.training_state = upgraded_state(manifest.training_state);
  const auto lanes = static_cast<std::int64_t>(manifest.training_state.at("state").at("documents").size());
  for (CheckpointManifest::File& file : manifest.files) {
    for (StoredSlice& slice : file.slices) upgrade_slice(slice, lanes);
  }
}

}  // namespace palimpsest
