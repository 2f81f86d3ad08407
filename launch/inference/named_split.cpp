#include "launch/inference/named_split.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"

namespace palimpsest {

NamedSplit find_split(const RunConfig& config, const std::string& name, const std::string& instead) {
  const DataConfig& data = config.data;
  const std::string none;
  const std::string& file = name == "train"        ? data.train
                            : name == "validation" ? data.validation
                            : name == "test"       ? data.test
                                                   : none;
  const bool mixture = name == "train" && !data.mixture.empty();
  const std::vector<EvaluationSet>& sets = config.evaluation.sets;
  const auto set = std::ranges::find(sets, name, &EvaluationSet::name);
  if (set != sets.end()) {
    if (mixture || !file.empty()) {
      throw ConfigError(
          fmt::format("--split {}: is data.{}, and one of evaluation.sets is called so, too: {}", name, name, instead));
    }
    return {set->file, set->name};
  }
  if (mixture) throw ConfigError(fmt::format("data.train is a mixture: {}", instead));
  if (!file.empty()) return {file, ""};
  if (name == "train" || name == "validation" || name == "test") {
    throw ConfigError(fmt::format("the configuration has no data.{}: {}", name, instead));
  }
  std::string names;
  for (const EvaluationSet& other : sets) names += fmt::format("{}{}", names.empty() ? "" : ", ", other.name);
  throw ConfigError(fmt::format("--split is '{}', expected train, validation, test or one of evaluation.sets, {}: {}",
                                printable(name), names.empty() ? "of which there are none" : "which are " + names,
                                instead));
}

}  // namespace palimpsest
