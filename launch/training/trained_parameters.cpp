#include "launch/training/trained_parameters.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "configs/suggestion.h"
#include "core/error.h"
#include "core/printable.h"
#include "optim/parameter_patterns.h"

namespace palimpsest {

namespace {

/// The name in every layer: "layers.*.input_layernorm.weight".
std::string of_every_layer(const std::string& name) {
  constexpr std::string_view layers = "layers.";
  if (!name.starts_with(layers)) return name;
  const auto end =
      std::find_if_not(name.begin() + layers.size(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  return fmt::format("{}*{}", layers, std::string(end, name.end()));
}

void require_parameter(const std::string& key, const std::string& pattern, const ParameterList& parameters) {
  const auto meant = [&](const Parameter& parameter) { return means_parameter(pattern, parameter.name); };
  if (std::ranges::any_of(parameters, meant)) return;
  std::vector<std::string> names;
  for (const ParameterPreset& preset : parameter_presets) names.emplace_back(preset.name);
  for (const Parameter& parameter : parameters) {
    std::string name = of_every_layer(parameter.name);
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  }
  throw ConfigError(fmt::format("{}: \"{}\" means no parameter of the model; the nearest names are {}", key,
                                printable(pattern), fmt::join(nearest_names(pattern, names, 3), ", ")));
}

}  // namespace

void choose_trained(const std::vector<std::string>& patterns, ParameterList& parameters) {
  for (const std::string& pattern : patterns) require_parameter("train.trainable", pattern, parameters);
  for (const Parameter& parameter : parameters) {
    const auto means_it = [&](const std::string& pattern) { return means_parameter(pattern, parameter.name); };
    parameter.variable.set_requires_gradient(patterns.empty() || std::ranges::any_of(patterns, means_it));
  }
}

}  // namespace palimpsest
