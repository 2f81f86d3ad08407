// The token files of a configuration by name, as --split of `palimpsest eval` and `palimpsest compare` takes them.
#pragma once

#include <string>

#include "configs/run_config.h"

namespace palimpsest {

struct NamedSplit {
  std::string file;
  std::string set;  // its name, where it is one of evaluation.sets
};

/// train, validation and test name data.train, data.validation and data.test, any other name one of evaluation.sets;
/// these names do, too, where data has no such file. Throws ConfigError, which ends with what to do `instead`, when the
/// configuration has no token file of that name, or two, and when data.train is a mixture of several.
NamedSplit find_split(const RunConfig& config, const std::string& name, const std::string& instead);

}  // namespace palimpsest
