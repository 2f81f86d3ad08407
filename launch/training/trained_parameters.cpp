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

/// Throws ConfigError unless `pattern` means one of `names`.
void require_meant(const std::string& key, const std::string& pattern, const std::vector<std::string>& names,
                   const char* which) {
  if (std::ranges::any_of(names, [&](const std::string& name) { return means_parameter(pattern, name); })) return;
  std::vector<std::string> known;
  for (const ParameterPreset& preset : parameter_presets) known.emplace_back(preset.name);
  for (const std::string& name : names) {
    std::string everywhere = of_every_layer(name);
    if (std::ranges::find(known, everywhere) == known.end()) known.push_back(std::move(everywhere));
  }
  throw ConfigError(fmt::format("{}: \"{}\" means no parameter {}; the nearest names are {}", key, printable(pattern),
                                which, fmt::join(nearest_names(pattern, known, 3), ", ")));
}

std::vector<std::string> names_of(const ParameterList& parameters, bool trained_only) {
  std::vector<std::string> names;
  for (const Parameter& parameter : parameters) {
    if (!trained_only || parameter.trained()) names.push_back(parameter.name);
  }
  return names;
}

}  // namespace

std::int64_t choose_trained(std::vector<std::string> patterns, ParameterList& parameters) {
  const std::vector<std::string> names = names_of(parameters, false);
  const auto is_lora = [](const std::string& name) { return means_parameter("lora", name); };
  if (patterns.empty()) patterns.emplace_back(std::ranges::any_of(names, is_lora) ? "lora" : "all");
  for (const std::string& pattern : patterns) require_meant("train.trainable", pattern, names, "of the model");
  for (const Parameter& parameter : parameters) {
    const auto means_it = [&](const std::string& pattern) { return means_parameter(pattern, parameter.name); };
    parameter.variable.set_requires_gradient(std::ranges::any_of(patterns, means_it));
  }
  return parameters.trained_elements();
}

void require_trained(const std::vector<LearningRateMultiplier>& multipliers, const ParameterList& parameters) {
  const std::vector<std::string> names = names_of(parameters, true);
  for (std::size_t i = 0; i < multipliers.size(); ++i) {
    require_meant(fmt::format("optimizer.learning_rate_multipliers[{}].parameters", i), multipliers[i].parameters,
                  names, "that is trained");
  }
}

}  // namespace palimpsest
