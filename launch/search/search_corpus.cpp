#include "launch/search/search_corpus.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "core/white_space.h"
#include "data/text/corpus.h"
#include "data/text/utf8.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t longest_file = std::size_t{16} << 30;

SearchDocument document_of(std::string_view line, const std::string& where) {
  const nlohmann::json json = parse_json(line, where);
  if (!json.is_object()) throw FileError(fmt::format("{}: is no JSON object", where));
  const auto text_of = [&](const char* key, bool required) {
    const auto found = json.find(key);
    if (found == json.end() && !required) return std::string();
    if (found == json.end() || !found->is_string()) {
      throw FileError(fmt::format("{}: \"{}\" is {}: expected a text", where, key,
                                  found == json.end() ? "missing" : printable(found->dump(), 80)));
    }
    return found->get<std::string>();
  };
  SearchDocument document{text_of("_id", true), text_of("title", false), text_of("text", true)};
  if (document.id.empty()) throw FileError(fmt::format("{}: \"_id\" is empty", where));
  return document;
}

}  // namespace

SearchCorpus::SearchCorpus(const fs::path& path) {
  std::error_code error;
  folder_ = fs::is_directory(path, error);
  folder_ ? list_folder(path) : read_lines(path);
  if (documents_.empty()) throw DataError(fmt::format("{}: holds no documents", path.string()));
  std::set<std::string_view> ids;
  for (std::size_t i = 0; i < documents_.size(); ++i) {
    if (!ids.insert(documents_[i].id).second) {
      throw DataError(
          fmt::format("{}: there is another document {} before it", places_[i], printable(documents_[i].id)));
    }
  }
}

void SearchCorpus::read_lines(const fs::path& path) {
  const std::string text = read_text_file(path, longest_file);
  std::string_view left = text;
  for (std::int64_t number = 1; !left.empty(); ++number) {
    const std::string_view line = left.substr(0, left.find('\n'));
    left.remove_prefix(std::min(line.size() + 1, left.size()));
    if (is_blank(line)) continue;
    places_.push_back(fmt::format("{}:{}", path.string(), number));
    documents_.push_back(document_of(line, places_.back()));
  }
}

void SearchCorpus::list_folder(const fs::path& path) {
  const CorpusListing listing = list_corpus(path);
  for (const CorpusProblem& problem : listing.problems) {
    throw FileError(fmt::format("{}: {}", problem.path, problem.reason));
  }
  for (const CorpusFile& file : listing.files) {
    if (find_invalid_utf8(file.name)) throw FileError(fmt::format("{}: its name is not UTF-8", file.path.string()));
    documents_.push_back({file.name, {}, {}});
    places_.push_back(file.path.string());
  }
}

SearchDocument SearchCorpus::document(std::int64_t index) const {
  if (index < 0 || index >= size()) {
    throw DataError(fmt::format("there is no document {} in a corpus of {}", index, size()));
  }
  SearchDocument document = documents_[static_cast<std::size_t>(index)];
  if (!folder_) return document;
  auto result = read_corpus_file(place(index));
  if (auto* read = std::get_if<CorpusDocument>(&result)) {
    document.text = std::move(read->text);
  } else if (const auto& problem = std::get<CorpusProblem>(result); problem.kind != CorpusProblem::Kind::empty) {
    throw FileError(fmt::format("{}: {}", problem.path, problem.reason));
  }
  return document;
}

}  // namespace palimpsest
