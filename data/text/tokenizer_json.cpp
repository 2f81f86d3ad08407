#include "data/text/tokenizer_json.h"

#include <array>
#include <optional>

#include <fmt/format.h>
#include <utf8.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

using Json = nlohmann::json;

constexpr std::int64_t most_tokens = 1 << 20;
/// GPT-2's, which `ByteLevel` applies unless told otherwise.
constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// The alphabet in which vocabularies spell bytes: those that print stand for themselves, the others for the characters
/// from U+0100 on, in order.
std::array<std::int32_t, 512> byte_alphabet() {
  std::array<std::int32_t, 512> bytes{};
  bytes.fill(-1);
  std::size_t next = 256;
  for (std::int32_t byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    bytes[prints ? static_cast<std::size_t>(byte) : next++] = byte;
  }
  return bytes;
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& name) : name_(name), json_(parse_json(text, name)) {}

  BytePairDescription parse() {
    if (!json_.is_object()) fail("is no JSON object");
    read_model(object(json_, "model"));
    read_added();
    read_normalizer(value(json_, "normalizer"));
    read_rules(value(json_, "pre_tokenizer"));
    const Json& decoder = value(json_, "decoder");
    if (!decoder.is_null() && value(decoder, "type") != "ByteLevel") unsupported("\"decoder\"", decoder);
    if (!byte_level_) fail("\"pre_tokenizer\" has no ByteLevel: the tokenizer is not byte-level BPE");
    return std::move(result_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw FileError(fmt::format("{}: {}", name_, what)); }
  [[noreturn]] void unsupported(const std::string& what, const Json& found) const {
    fail(fmt::format("{} is {}, which is not supported", what, printable(found.dump())));
  }

  /// Null when there is none.
  static const Json& value(const Json& json, const std::string& key) {
    static const Json none;
    const auto found = json.find(key);
    return found == json.end() ? none : *found;
  }
  const Json& object(const Json& json, const char* key) const {
    const Json& found = value(json, key);
    if (!found.is_object()) fail(fmt::format("has no object \"{}\"", key));
    return found;
  }
  std::string text(const Json& json, const char* key) const {
    const Json& found = value(json, key);
    if (!found.is_string()) fail(fmt::format("\"{}\" is {}, expected a text", key, printable(found.dump())));
    return found.get<std::string>();
  }
  bool flag(const Json& json, const char* key, bool otherwise = false) const {
    const Json& found = value(json, key);
    if (found.is_null()) return otherwise;
    if (!found.is_boolean()) fail(fmt::format("\"{}\" is {}, expected true or false", key, printable(found.dump())));
    return found.get<bool>();
  }
  std::int32_t id(const Json& json, const std::string& token) const {
    const bool whole = json.is_number_unsigned() && json.get<std::uint64_t>() < static_cast<std::uint64_t>(most_tokens);
    if (!whole) fail(fmt::format("the token '{}' has the id {}", printable(token), printable(json.dump())));
    return json.get<std::int32_t>();
  }

  /// Puts a token at its id.
  void place(std::int32_t id, const std::string& bytes) {
    const auto index = static_cast<std::size_t>(id);
    if (index >= result_.tokens.size()) {
      result_.tokens.resize(index + 1);
      taken_.resize(index + 1);
    }
    if (taken_[index])
      fail(fmt::format("the tokens '{}' and '{}' have the id {}", printable(result_.tokens[index]), printable(bytes),
                       id));
    result_.tokens[index] = bytes;
    taken_[index] = true;
  }

  /// What a vocabulary's spelling stands for; nothing when it has characters beyond the alphabet.
  std::optional<std::string> bytes_of(const std::string& spelling) const {
    std::string bytes;
    for (const char* at = spelling.data(); at != spelling.data() + spelling.size();) {
      const auto character = static_cast<std::size_t>(utf8::unchecked::next(at));  // JSON's texts are valid
      if (character >= alphabet_.size() || alphabet_[character] < 0) return std::nullopt;
      bytes += static_cast<char>(alphabet_[character]);
    }
    return bytes;
  }

  void read_model(const Json& model) {
    if (value(model, "type") != "BPE" && !(value(model, "type").is_null() && model.contains("merges"))) {
      unsupported("\"model\".\"type\"", value(model, "type"));
    }
    for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json& found = value(model, key);
      const bool empty = found.is_string() && found.get<std::string>().empty();
      if (!found.is_null() && !empty) unsupported(fmt::format("\"model\".\"{}\"", key), found);
    }
    if (flag(model, "byte_fallback")) unsupported("\"model\".\"byte_fallback\"", true);
    result_.whole_pieces_first = flag(model, "ignore_merges");
    const Json& vocabulary = object(model, "vocab");
    for (const auto& [spelling, number] : vocabulary.items()) {
      const std::optional<std::string> bytes = bytes_of(spelling);
      const std::int32_t token = id(number, spelling);
      place(token, bytes.value_or(spelling));
      if (bytes && !bytes->empty()) result_.vocabulary.emplace(*bytes, token);
    }
    result_.bytes.resize(256);
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = result_.vocabulary.find(std::string(1, static_cast<char>(byte)));
      if (found == result_.vocabulary.end()) {
        fail(fmt::format("has no token for the byte {}: the tokenizer is not byte-level BPE", byte));
      }
      result_.bytes[static_cast<std::size_t>(byte)] = found->second;
    }
    const Json& merges = value(model, "merges");
    if (!merges.is_array()) fail("\"model\".\"merges\" is no list");
    result_.merges.reserve(merges.size());
    for (const Json& merge : merges) read_merge(merge);
  }

  /// "left right", or in newer files a list of the two.
  void read_merge(const Json& merge) {
    std::string left, right;
    if (merge.is_string()) {
      const auto both = merge.get<std::string>();
      const std::size_t space = both.find(' ');
      left = both.substr(0, space);
      right = space == std::string::npos ? "" : both.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    }
    const auto find = [&](const std::string& spelling) {
      const auto bytes = bytes_of(spelling);
      const auto found = bytes ? result_.vocabulary.find(*bytes) : result_.vocabulary.end();
      if (found == result_.vocabulary.end()) {
        fail(fmt::format("merge {}, {}, does not join two tokens to a third", result_.merges.size(),
                         printable(merge.dump())));
      }
      return found->second;
    };
    result_.merges.push_back({find(left), find(right), find(left + right)});
  }

  void read_added() {
    const Json& list = value(json_, "added_tokens");
    if (!list.is_null() && !list.is_array()) fail("\"added_tokens\" is no list");
    const Json& vocabulary = object(object(json_, "model"), "vocab");
    for (const Json& json : list) {
      const std::string content = text(json, "content");
      if (content.empty()) fail("an added token is empty");
      for (const char* key : {"single_word", "lstrip", "rstrip"}) {
        if (flag(json, key)) unsupported(fmt::format("\"{}\" of the added token '{}'", key, printable(content)), true);
      }
      const std::int32_t token = id(value(json, "id"), content);
      const Json& in_vocabulary = value(vocabulary, content);
      if (in_vocabulary.is_null()) {
        place(token, content);
      } else if (in_vocabulary == token) {
        result_.tokens[static_cast<std::size_t>(token)] = content;  // which is spelled as it is, not in the alphabet
      } else {
        fail(fmt::format("the added token '{}' has the id {} and in the vocabulary {}", printable(content), token,
                         in_vocabulary.dump()));
      }
      const bool special = flag(json, "special");
      result_.added.push_back({content, token, special, flag(json, "normalized", !special)});
    }
  }

  void read_normalizer(const Json& json) {
    if (json.is_null()) return;
    const Json& type = value(json, "type");
    if (type == "NFC") {
      result_.composes = true;
    } else if (type == "Sequence" && value(json, "normalizers").is_array()) {
      if (depth_++ > 4) fail("\"normalizer\" is nested too deeply");
      for (const Json& part : value(json, "normalizers")) read_normalizer(part);
      --depth_;
    } else {
      unsupported("\"normalizer\"", json);
    }
  }

  void read_rules(const Json& json) {
    const Json& type = value(json, "type");
    if (type == "Sequence" && value(json, "pretokenizers").is_array()) {
      if (depth_++ > 4) fail("\"pre_tokenizer\" is nested too deeply");
      for (const Json& part : value(json, "pretokenizers")) read_rules(part);
      --depth_;
      return;
    }
    if (byte_level_) fail("\"pre_tokenizer\" goes on after ByteLevel, which is not supported");
    if (type == "ByteLevel") {
      if (flag(json, "add_prefix_space", true)) unsupported("\"add_prefix_space\"", true);
      if (flag(json, "use_regex", true)) result_.rules.push_back({std::string(gpt2_pattern)});
      byte_level_ = true;
    } else if (type == "Digits") {
      result_.rules.push_back({flag(json, "individual_digits") ? R"(\p{N})" : R"(\p{N}+)"});
    } else if (type == "Split") {
      const Json& pattern = object(json, "pattern");
      const bool isolated = value(json, "behavior") == "Isolated", inverted = flag(json, "invert");
      const bool removed = value(json, "behavior") == "Removed";
      if (!pattern.contains("Regex") || !((isolated && !inverted) || (removed && inverted))) {
        unsupported("\"pre_tokenizer\"", json);
      }
      result_.rules.push_back({text(pattern, "Regex"), isolated});
    } else {
      unsupported("\"pre_tokenizer\"", json);
    }
  }

  const std::string& name_;
  Json json_;
  const std::array<std::int32_t, 512> alphabet_ = byte_alphabet();
  std::vector<bool> taken_;
  bool byte_level_ = false;
  int depth_ = 0;
  BytePairDescription result_;
};

}  // namespace

BytePairDescription parse_tokenizer_json(std::string_view text, const std::string& name) {
  return Parser(text, name).parse();
}

}  // namespace palimpsest
