// Parameters chosen by patterns of their names.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace palimpsest {

/// A word for a pattern.
struct ParameterPreset {
  std::string_view name;
  std::string_view pattern;
};

inline constexpr std::array<ParameterPreset, 4> parameter_presets = {{
    {"memory", "*memory_*"},  // gates and whatever else the memory has of its own, by which all of that is named
    {"attention", "*.self_attn.*"},
    {"lora", "*.lora_[AB].*"},
    {"all", "*"},
}};

/// Whether `pattern` means the parameter `name`. It is a shell pattern of the whole name, as POSIX's fnmatch takes it
/// (`*` any text, dots included, `?` one character, `[0-3]` one of several), or a preset's name.
bool means_parameter(const std::string& pattern, const std::string& name);

}  // namespace palimpsest
