// A run's configuration as YAML text: strict reading, complete writing. Keys, types, ranges and
// meanings come from configs/schema.h.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "configs/run_config.h"

namespace palimpsest {

/// Configuration files beyond this size are refused.
inline constexpr std::size_t max_config_bytes = 1 << 20;

/// Reads the YAML file `path` over the defaults, then applies `overrides` ("section.key=value", later
/// ones win), then checks what keys say about each other. Throws FileError when the file cannot be
/// read, ConfigError naming file, line, column and key when a key is unknown, repeated, of the wrong type,
/// out of range or an option of another kind than the one chosen.
RunConfig load_run_config(const std::filesystem::path& path, std::span<const std::string> overrides = {});

/// The same for text; `name` stands for the file in messages.
RunConfig parse_run_config(std::string_view text, std::string_view name, std::span<const std::string> overrides = {});

/// The same for what to_yaml of this program or an earlier one wrote: keys that have moved since are found.
RunConfig parse_saved_config(std::string_view text, std::string_view name);

/// Every section and key with its value; parse_run_config reads it back to an equal configuration.
std::string to_yaml(RunConfig config);

/// What differs in one section ("model") or, with an empty name, in any: one line per key,
/// "model.hidden_size: 512 -> 256" with the value of `before` first, "none" where there is no such key.
std::vector<std::string> differences(const RunConfig& before, const RunConfig& after, std::string_view section = {});

}  // namespace palimpsest
