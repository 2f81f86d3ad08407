#include "optim/parameter_patterns.h"

#include <algorithm>

#include <fnmatch.h>

namespace palimpsest {

bool means_parameter(const std::string& pattern, const std::string& name) {
  const auto preset = std::ranges::find(parameter_presets, pattern, &ParameterPreset::name);
  const std::string shell_pattern = preset == parameter_presets.end() ? pattern : std::string(preset->pattern);
  return fnmatch(shell_pattern.c_str(), name.c_str(), 0) == 0;
}

}  // namespace palimpsest
