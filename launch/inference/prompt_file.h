// Many prompts in a file: one a line, as text or as JSON (docs/file-formats.md, "Prompts and results").
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace palimpsest {

struct Prompt {
  nlohmann::json id;  // a text or a whole number: as given, else the number of its line
  std::string text;   // valid UTF-8
  std::optional<std::int64_t> max_tokens;
  std::optional<std::uint64_t> seed;
};

/// The prompts of a file whose content is `text`, in their order; lines with nothing but white space are left out.
/// Throws FileError that starts with "name:line".
std::vector<Prompt> parse_prompts(std::string_view text, const std::string& name, bool json);

/// The same of a file; one whose name ends in .jsonl or .json has JSON lines. Throws FileError.
std::vector<Prompt> read_prompts(const std::filesystem::path& path);

}  // namespace palimpsest
