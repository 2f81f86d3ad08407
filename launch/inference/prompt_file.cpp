#include "launch/inference/prompt_file.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "core/white_space.h"
#include "data/text/utf8.h"

namespace palimpsest {

namespace {

constexpr std::size_t longest_file = std::size_t{1} << 30;

Prompt prompt_from_json(std::string_view line, const std::string& where) {
  const nlohmann::json json = parse_json(line, where);
  const auto refuse = [&](std::string_view key, std::string_view expected) {
    throw FileError(fmt::format("{}: \"{}\" is {}: expected {}", where, key,
                                json.contains(key) ? printable(json[std::string(key)].dump()) : "missing", expected));
  };
  if (!json.is_object()) throw FileError(fmt::format("{}: is no JSON object with a \"prompt\"", where));
  constexpr std::array<std::string_view, 4> keys = {"prompt", "id", "max_tokens", "seed"};
  for (const auto& [key, value] : json.items()) {
    if (std::ranges::find(keys, key) == keys.end()) {
      throw FileError(
          fmt::format("{}: there is no key \"{}\": expected {}", where, printable(key), fmt::join(keys, ", ")));
    }
  }
  Prompt prompt;
  if (!json.contains("prompt") || !json["prompt"].is_string()) refuse("prompt", "a text");
  prompt.text = json["prompt"].get<std::string>();
  if (json.contains("id")) {
    if (!json["id"].is_string() && !json["id"].is_number_integer()) refuse("id", "a text or a whole number");
    prompt.id = json["id"];
  }
  // What is not negative has a type of its own in the parser.
  if (json.contains("max_tokens")) {
    if (!json["max_tokens"].is_number_unsigned() || json["max_tokens"] > std::int64_t{1} << 40) {
      refuse("max_tokens", "a whole number of at least 0");
    }
    prompt.max_tokens = json["max_tokens"].get<std::int64_t>();
  }
  if (json.contains("seed")) {
    if (!json["seed"].is_number_unsigned()) refuse("seed", "a whole number of at least 0");
    prompt.seed = json["seed"].get<std::uint64_t>();
  }
  return prompt;
}

}  // namespace

std::vector<Prompt> parse_prompts(std::string_view text, const std::string& name, bool json) {
  std::vector<Prompt> prompts;
  std::int64_t number = 0;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (is_blank(line)) continue;
    const std::string where = fmt::format("{}:{}", name, number);
    if (json) {
      prompts.push_back(prompt_from_json(line, where));
    } else {
      if (const auto invalid = find_invalid_utf8(line)) {
        throw FileError(fmt::format("{}: not UTF-8: byte 0x{:02X} at offset {} of the line", where,
                                    static_cast<unsigned char>(line[*invalid]), *invalid));
      }
      prompts.push_back({.id = {}, .text = std::string(line), .max_tokens = {}, .seed = {}});
    }
    if (prompts.back().id.is_null()) prompts.back().id = number;
  }
  return prompts;
}

std::vector<Prompt> read_prompts(const std::filesystem::path& path) {
  const bool json = path.extension() == ".jsonl" || path.extension() == ".json";
  return parse_prompts(read_text_file(path, longest_file), path.string(), json);
}

}  // namespace palimpsest
