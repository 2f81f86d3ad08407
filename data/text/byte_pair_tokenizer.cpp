#include "data/text/byte_pair_tokenizer.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <span>
#include <tuple>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "data/text/utf8.h"

namespace palimpsest {

namespace {

constexpr std::size_t most_json_bytes = std::size_t{24} << 20;  // in a checkpoint's manifest it is twice as long
constexpr std::size_t most_cached_pieces = 1 << 16;

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
}

/// tokenizer_config.json has a token as its text, or as an object with its `content`; empty for null and without one.
std::string named_token(const nlohmann::json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return "";
  if (found->is_object() && found->contains("content")) return found->at("content").get<std::string>();
  return found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

std::unique_ptr<BytePairTokenizer> BytePairTokenizer::load(const std::filesystem::path& path) {
  std::filesystem::path config = path;
  config.replace_filename("tokenizer_config.json");
  std::string begin, end;
  try {
    const nlohmann::json json = parse_json(read_text_file(config), config.string());
    begin = named_token(json, "bos_token");
    end = named_token(json, "eos_token");
  } catch (const nlohmann::json::exception& error) {
    throw FileError(fmt::format("{}: {}", config.string(), printable(error.what())));
  }
  if (begin.empty()) begin = end;
  if (end.empty()) end = begin;
  if (end.empty()) {
    throw FileError(
        fmt::format("{}: has neither bos_token nor eos_token, one of which has to part documents", config.string()));
  }
  const nlohmann::ordered_json marks = {{"begin", begin}, {"end", end}};
  return std::make_unique<BytePairTokenizer>(marks.dump() + '\n' + read_text_file(path, most_json_bytes),
                                             path.string());
}

BytePairTokenizer::BytePairTokenizer(std::string model, const std::string& name)
    : model_(std::move(model)),
      description_(parse_tokenizer_json(json(), name)),
      splitter_(description_.rules, name),
      added_first_(256),
      added_normalized_(256) {
  merges_.reserve(description_.merges.size());
  for (std::size_t rank = 0; rank < description_.merges.size(); ++rank) {
    const auto& [left, right, result] = description_.merges[rank];
    merges_.try_emplace(pair_of(left, right), Merge{rank, result});
  }
  const nlohmann::json marks = parse_json(std::string_view(model_).substr(0, model_.find('\n')), name);
  if (!marks.is_object()) throw FileError(fmt::format("{}: the tokens that part documents are not named", name));
  begin_ = added_token(named_token(marks, "begin"), name);
  end_ = added_token(named_token(marks, "end"), name);
  part_special_tokens(name);
  for (const BytePairDescription::Added& added : description_.added) {
    if (added.normalized && description_.composes && composed(added.content) != added.content) {
      throw FileError(fmt::format("{}: the added token '{}' is looked for in normal form C, which it is not in", name,
                                  printable(added.content)));
    }
    AddedTokens& tokens = added.normalized ? added_normalized_ : added_first_;
    tokens[static_cast<unsigned char>(added.content.front())].push_back(&added);
  }
  for (AddedTokens* tokens : {&added_first_, &added_normalized_}) {
    for (auto& of_byte : *tokens) {
      std::ranges::stable_sort(of_byte,
                               [](const auto* a, const auto* b) { return a->content.size() > b->content.size(); });
    }
  }
  FileHash hash;
  hash.update(std::as_bytes(std::span(model_)));
  identity_ = "byte_pair:" + hash.digest();
}

std::int32_t BytePairTokenizer::added_token(const std::string& content, const std::string& name) {
  const auto found = std::ranges::find(description_.added, content, &BytePairDescription::Added::content);
  if (found == description_.added.end()) {
    throw FileError(fmt::format("{}: '{}', which parts documents, is no added token", name, printable(content)));
  }
  found->special = true;
  return found->id;
}

/// A special token that merges lead to could be written by anyone.
void BytePairTokenizer::part_special_tokens(const std::string& name) {
  std::unordered_set<std::int32_t> special;
  for (const BytePairDescription::Added& added : description_.added) {
    if (added.special) special.insert(added.id);
  }
  const auto require_none = [&](std::int32_t token) {
    if (!special.contains(token)) return;
    throw FileError(
        fmt::format("{}: the special token '{}' is a byte or what a merge makes, so that text would spell it", name,
                    printable(content(token))));
  };
  std::ranges::for_each(description_.bytes, require_none);
  for (const BytePairDescription::Merge& merge : description_.merges) require_none(merge.result);
  std::erase_if(description_.vocabulary, [&](const auto& entry) { return special.contains(entry.second); });
}

const BytePairTokenizer::Merge* BytePairTokenizer::merge_of(std::int32_t left, std::int32_t right) const {
  const auto found = merges_.find(pair_of(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

/// The tokens of one text.
class BytePairTokenizer::Encoding {
 public:
  explicit Encoding(const BytePairTokenizer& tokenizer) : tokenizer_(tokenizer), text_(tokenizer.description_) {}

  std::vector<std::int32_t> tokens;

  void add(std::string_view text) {
    if (find_invalid_utf8(text)) return add_valid(valid_utf8(text));
    add_valid(text);
  }

 private:
  void add_valid(std::string_view text) {
    between_added(text, tokenizer_.added_first_, [&](std::string_view part) {
      if (!text_.composes) return add_normalized(part);
      add_normalized(composed(part));
    });
  }
  void add_normalized(std::string_view text) {
    between_added(text, tokenizer_.added_normalized_, [&](std::string_view part) {
      tokenizer_.splitter_.split(part, [&](std::string_view piece) { add_piece(piece); });
    });
  }

  /// Takes out the added tokens, of several at one place the longest, and calls `take` with what lies between.
  template <class Take>
  void between_added(std::string_view text, const AddedTokens& added, const Take& take) {
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
      const auto& candidates = added[static_cast<unsigned char>(text[at])];
      const auto found = std::ranges::find_if(candidates, [&](const auto* token) {
        return (tokenizer_.reads_special || !token->special) && text.substr(at).starts_with(token->content);
      });
      if (found == candidates.end()) {
        ++at;
        continue;
      }
      if (at > begin) take(text.substr(begin, at - begin));
      tokens.push_back((*found)->id);
      begin = at += (*found)->content.size();
    }
    if (begin < text.size()) take(text.substr(begin));
  }

  void add_piece(std::string_view piece) {
    key_ = piece;
    const auto cached = cache_.find(key_);
    if (cached != cache_.end()) {
      tokens.insert(tokens.end(), cached->second.begin(), cached->second.end());
      return;
    }
    const std::size_t before = tokens.size();
    const auto whole = text_.vocabulary.find(key_);
    if (text_.whole_pieces_first && whole != text_.vocabulary.end()) {
      tokens.push_back(whole->second);
    } else {
      merge(piece);
    }
    if (cache_.size() >= most_cached_pieces) cache_.clear();
    cache_.emplace(key_, std::vector<std::int32_t>(tokens.begin() + static_cast<std::ptrdiff_t>(before), tokens.end()));
  }

  /// Merges neighbours, of all pairs that merge the one that comes first in the list, of equal ones the leftmost, until
  /// none does.
  void merge(std::string_view piece) {
    constexpr std::size_t none = ~std::size_t{0};
    struct Symbol {
      std::int32_t token;  // -1: part of one to the left by now
      std::size_t previous, next;
    };
    std::vector<Symbol> symbols;
    for (std::size_t i = 0; i < piece.size(); ++i) {
      symbols.push_back({text_.bytes[static_cast<unsigned char>(piece[i])], i == 0 ? none : i - 1,
                         i + 1 == piece.size() ? none : i + 1});
    }
    struct Candidate {
      std::size_t rank, position;
      std::int32_t left, right, result;
      bool operator>(const Candidate& other) const {
        return std::tie(rank, position) > std::tie(other.rank, other.position);
      }
    };
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto propose = [&](std::size_t position) {
      if (position == none || symbols[position].next == none) return;
      const std::int32_t left = symbols[position].token, right = symbols[symbols[position].next].token;
      if (const Merge* merge = tokenizer_.merge_of(left, right)) {
        queue.push({merge->rank, position, left, right, merge->result});
      }
    };
    for (std::size_t i = 0; i < symbols.size(); ++i) propose(i);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[best.position];
      if (left.token != best.left || left.next == none || symbols[left.next].token != best.right) continue;
      Symbol& right = symbols[left.next];
      left.token = best.result;
      left.next = right.next;
      right.token = -1;
      if (left.next != none) symbols[left.next].previous = best.position;
      propose(left.previous);
      propose(best.position);
    }
    for (std::size_t i = 0; i != none && i < symbols.size(); i = symbols[i].next) tokens.push_back(symbols[i].token);
  }

  const BytePairTokenizer& tokenizer_;
  const BytePairDescription& text_;
  std::unordered_map<std::string, std::vector<std::int32_t>> cache_;
  std::string key_;
};

std::vector<std::int32_t> BytePairTokenizer::encode(std::string_view text) const {
  Encoding encoding(*this);
  encoding.add(text);
  return std::move(encoding.tokens);
}

std::string BytePairTokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  bool at_start = true;
  for (const std::int32_t token : tokens) text += token_bytes(token, at_start);
  return text;
}

std::string BytePairTokenizer::token_bytes(std::int32_t token, bool& at_start) const {
  const std::string& bytes = content(token);
  at_start = false;
  return token == begin_ || token == end_ ? std::string() : bytes;
}

const std::string& BytePairTokenizer::content(std::int32_t token) const {
  if (token < 0 || token >= vocab_size()) {
    throw DataError(fmt::format("token {} is outside the vocabulary of {} tokens", token, vocab_size()));
  }
  return description_.tokens[static_cast<std::size_t>(token)];
}

std::unique_ptr<Tokenizer> with_special_tokens(std::unique_ptr<Tokenizer> tokenizer) {
  auto* pairs = dynamic_cast<BytePairTokenizer*>(tokenizer.get());
  if (pairs == nullptr) {
    throw ConfigError(
        fmt::format("--special-tokens: the tokenizer {} has none that a text can spell; those of a "
                    "tokenizer.json can be",
                    tokenizer->identity()));
  }
  pairs->reads_special = true;
  return tokenizer;
}

}  // namespace palimpsest
