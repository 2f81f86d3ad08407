#include "launch/measures/text_pairs.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "core/white_space.h"
#include "data/text/corpus.h"
#include "data/text/utf8.h"
#include "launch/measures/byte_order_mark.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t longest_file = std::size_t{1} << 30;

void require_utf8(std::string_view text, const std::string& where) {
  if (const auto invalid = find_invalid_utf8(text)) {
    throw FileError(fmt::format("{}: not UTF-8: byte 0x{:02X} at offset {}", where,
                                static_cast<unsigned char>(text[*invalid]), *invalid));
  }
}

/// Calls take(line, "path:number") for each; a last line end begins no other line.
template <class Take>
void for_each_line(std::string_view text, const fs::path& path, const Take& take) {
  for (int number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    take(line, fmt::format("{}:{}", path.string(), number));
  }
}

NamedTexts texts_from_json(std::string_view line, const std::string& where, const std::string& field) {
  const nlohmann::json json = parse_json(line, where);
  if (!json.is_object()) throw FileError(fmt::format("{}: is no JSON object", where));
  const auto found = json.find(field);
  if (found == json.end()) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : json.items()) keys.push_back('"' + key + '"');
    throw FileError(fmt::format("{}: there is no key \"{}\", but {}", where, printable(field),
                                printable(keys.empty() ? "none" : fmt::format("{}", fmt::join(keys, ", ")), 400)));
  }
  NamedTexts texts;
  const bool list = found->is_array();
  const std::vector<nlohmann::json> values =
      list ? found->get<std::vector<nlohmann::json>>() : std::vector<nlohmann::json>{*found};
  for (const nlohmann::json& value : values) {
    if (value.is_string()) texts.texts.push_back(value.get<std::string>());
  }
  if (values.empty() || texts.texts.size() < values.size()) {
    throw FileError(fmt::format("{}: \"{}\" is {}: expected a text or a list of texts", where, printable(field),
                                printable(found->dump(), 80)));
  }
  for (const char* key : {"id", "_id"}) {
    const auto id = json.find(key);
    if (id == json.end()) continue;
    if (!id->is_string() && !id->is_number_integer()) {
      throw FileError(
          fmt::format("{}: \"{}\" is {}: expected a text or a whole number", where, key, printable(id->dump(), 80)));
    }
    texts.id = id->is_string() ? id->get<std::string>() : id->dump();
    break;
  }
  return texts;
}

std::vector<NamedTexts> read_folder(const fs::path& path) {
  const CorpusListing listing = list_corpus(path);
  for (const CorpusProblem& problem : listing.problems) {
    throw FileError(fmt::format("{}: {}", problem.path, problem.reason));
  }
  std::vector<NamedTexts> texts;
  for (const CorpusFile& file : listing.files) {
    const std::string text = read_text_file(file.path, longest_file);
    require_utf8(text, file.path.string());
    texts.push_back({file.name, {std::string(without_byte_order_mark(text))}});
  }
  return texts;
}

std::vector<NamedTexts> read_lines(const fs::path& path, const std::string& field, bool whole_file) {
  const std::string content = read_text_file(path, longest_file);
  const std::string_view text = without_byte_order_mark(content);
  std::vector<NamedTexts> texts;
  if (path.extension() == ".jsonl" || path.extension() == ".json") {
    for_each_line(text, path, [&](std::string_view line, const std::string& where) {
      if (!is_blank(line)) {
        texts.push_back(texts_from_json(line, where, field));
      }
    });
  } else if (whole_file) {
    require_utf8(content, path.string());
    texts.push_back({"", {std::string(text)}});
  } else {
    for_each_line(text, path, [&](std::string_view line, const std::string& where) {
      require_utf8(line, where);
      texts.push_back({"", {std::string(line)}});
    });
  }
  return texts;
}

bool all_named(const std::vector<NamedTexts>& texts) {
  return std::ranges::none_of(texts, [](const NamedTexts& text) { return text.id.empty(); });
}

}  // namespace

std::vector<NamedTexts> read_texts(const fs::path& path, const std::string& field, bool whole_file) {
  std::error_code error;
  std::vector<NamedTexts> texts =
      fs::is_directory(path, error) ? read_folder(path) : read_lines(path, field, whole_file);
  if (texts.empty()) throw DataError(fmt::format("{}: holds no texts", path.string()));
  std::set<std::string_view> ids;
  for (const NamedTexts& text : texts) {
    if (!text.id.empty() && !ids.insert(text.id).second) {
      throw DataError(fmt::format("{}: has two texts named {}", path.string(), printable(text.id)));
    }
  }
  return texts;
}

std::vector<TextPair> pair_texts(const fs::path& references_path, std::vector<NamedTexts> references,
                                 const fs::path& candidates_path, std::vector<NamedTexts> candidates) {
  const auto refuse = [&](const std::string& what) {
    throw DataError(fmt::format("{} and {}: {}", references_path.string(), candidates_path.string(), what));
  };
  const bool by_id = all_named(references) && all_named(candidates);
  if (!by_id && references.size() != candidates.size()) {
    refuse(fmt::format("{} references and {} candidates: expected as many", references.size(), candidates.size()));
  }
  std::map<std::string, NamedTexts*> candidate_named;
  if (by_id) {
    for (NamedTexts& candidate : candidates) candidate_named.emplace(candidate.id, &candidate);
  }
  std::vector<TextPair> pairs;
  for (std::size_t i = 0; i < references.size(); ++i) {
    NamedTexts& reference = references[i];
    NamedTexts* candidate = by_id ? nullptr : &candidates[i];
    if (by_id) {
      const auto found = candidate_named.extract(reference.id);
      if (found.empty()) refuse(fmt::format("there is no candidate for the reference {}", printable(reference.id)));
      candidate = found.mapped();
    }
    const std::string& id = by_id || candidate->id.empty() ? reference.id : candidate->id;
    TextPair pair{id.empty() ? std::to_string(i + 1) : id, std::move(reference.texts), {}};
    if (candidate->texts.size() != 1) {
      refuse(fmt::format("candidate {} has {} texts: expected one", printable(pair.id), candidate->texts.size()));
    }
    pair.candidate = std::move(candidate->texts.front());
    pairs.push_back(std::move(pair));
  }
  if (!candidate_named.empty()) {
    refuse(fmt::format("there is no reference for the candidate {}", printable(candidate_named.begin()->first)));
  }
  return pairs;
}

}  // namespace palimpsest
