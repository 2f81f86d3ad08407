#include "data/text/word_tokenizer.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "core/printable.h"
#include "data/text/passkey_words.h"

namespace palimpsest {

namespace {

constexpr std::size_t most_words = 65536;
constexpr std::string_view first_words[] = {"<unk>", "<s>", "</s>"};

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool stands_alone(char c) {
  return is_digit(c) || (c > ' ' && c < '\x7F' && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z'));
}
bool follows_without_space(std::string_view word) {
  return word.size() == 1 && std::string_view(".,;:?!").find(word[0]) != std::string_view::npos;
}

/// Takes the next word, digit or mark from `text`; nothing when only white space is left.
std::string_view next_word(std::string_view& text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  std::size_t size = 0;
  while (size < text.size() && !is_space(text[size]) && !stands_alone(text[size])) ++size;
  if (size == 0 && !text.empty()) size = 1;
  const std::string_view word = text.substr(0, size);
  text.remove_prefix(size);
  return word;
}

}  // namespace

WordTokenizer::WordTokenizer(std::string model) : model_(std::move(model)) {
  for (std::string_view rest = model_; !rest.empty();) {
    const std::string_view word = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    const std::size_t line = words_.size() + 1;
    if (word.empty() || std::ranges::any_of(word, is_space)) {
      throw DataError(fmt::format("word list, line {}: \"{}\" is no word", line, printable(word)));
    }
    if (line > most_words) throw DataError(fmt::format("word list: more than {} words", most_words));
    if (!ids_.emplace(word, static_cast<std::int32_t>(words_.size())).second) {
      throw DataError(fmt::format("word list, line {}: \"{}\" is there already", line, printable(word)));
    }
    words_.push_back(word);
  }
  if (words_.size() < 3 || !std::equal(std::begin(first_words), std::end(first_words), words_.begin())) {
    throw DataError("word list: expected <unk>, <s> and </s> in the first three lines");
  }
  FileHash hash;
  hash.update(std::as_bytes(std::span(model_)));
  identity_ = "words:" + hash.digest();
}

std::vector<std::int32_t> WordTokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> tokens;
  for (std::string_view word = next_word(text); !word.empty(); word = next_word(text)) {
    const auto found = ids_.find(word);
    tokens.push_back(found == ids_.end() ? unknown_id() : found->second);
  }
  return tokens;
}

std::string WordTokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  bool at_start = true;
  for (const std::int32_t token : tokens) text += token_bytes(token, at_start);
  return text;
}

std::string WordTokenizer::token_bytes(std::int32_t token, bool& at_start) const {
  if (token < 0 || token >= vocab_size()) {
    throw DataError(fmt::format("token {} is outside the vocabulary of {} tokens", token, vocab_size()));
  }
  if (token == begin_id() || token == end_id()) return {};
  const std::string_view word = words_[static_cast<std::size_t>(token)];
  const bool bare = std::exchange(at_start, false) || follows_without_space(word);
  return fmt::format("{}{}", bare ? "" : " ", word);
}

std::string passkey_word_list() {
  std::vector<std::string> words(std::begin(first_words), std::end(first_words));
  const auto add = [&](std::string_view text) {
    for (std::string_view word = next_word(text); !word.empty(); word = next_word(text)) {
      if (std::ranges::find(words, word) == words.end()) words.emplace_back(word);
    }
  };
  add("0123456789");
  for (const std::string_view name : passkey_words::names) add(name);
  add(passkey_words::introduction);
  add(passkey_words::filler);
  for (const std::string_view form : {passkey_words::statement, passkey_words::replacement, passkey_words::question}) {
    add(fmt::format(fmt::runtime(form), " 0", " 0"));
  }
  std::string list;
  for (const std::string& word : words) list += fmt::format("{}\n", word);
  return list;
}

}  // namespace palimpsest
