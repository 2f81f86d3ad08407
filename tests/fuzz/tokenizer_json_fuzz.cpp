// tokenizer.json of byte-level BPE: whatever is accepted encodes text, and decodes every token that it makes.
#include <nlohmann/json.hpp>

#include "data/text/byte_pair_tokenizer.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

namespace {

std::string seed(const nlohmann::json& rules, const nlohmann::json& normalizer, bool whole_pieces_first) {
  nlohmann::json vocabulary = nlohmann::json::object();
  int others = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    const int character = prints ? byte : 256 + others++;
    const std::string two = {static_cast<char>(0xC0 | (character >> 6)), static_cast<char>(0x80 | (character & 0x3F))};
    vocabulary[character < 0x80 ? std::string(1, static_cast<char>(character)) : two] = byte;
  }
  vocabulary["th"] = 256;
  vocabulary["the"] = 257;
  const nlohmann::json json = {
      {"added_tokens",
       {{{"id", 258}, {"content", "<|end|>"}, {"special", true}}, {{"id", 259}, {"content", "\u00e9 1"}}}},
      {"normalizer", normalizer},
      {"pre_tokenizer", rules},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"},
        {"ignore_merges", whole_pieces_first},
        {"vocab", vocabulary},
        {"merges", {"t h", nlohmann::json::array({"th", "e"})}}}}};
  return "{\"begin\":\"<|end|>\",\"end\":\"<|end|>\"}\n" + json.dump();
}

}  // namespace

std::vector<std::string> seeds() {
  const nlohmann::json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  const nlohmann::json split = {{"type", "Split"},
                                {"pattern", {{"Regex", R"(\p{L}+|\s+(?!\S)|\s+)"}}},
                                {"behavior", "Isolated"},
                                {"invert", false}};
  const nlohmann::json digits = {{"type", "Digits"}, {"individual_digits", true}};
  nlohmann::json removed = split;
  removed["behavior"] = "Removed";
  removed["invert"] = true;
  removed["pattern"]["Regex"] = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]*[\p{Ll}]++(?i:'s|'t)?|\p{N}{1,3}|\s+)";
  const auto sequence = [&](const nlohmann::json& first) {
    return nlohmann::json{{"type", "Sequence"}, {"pretokenizers", {first, digits, bytes}}};
  };
  return {seed(bytes, nullptr, false), seed(sequence(split), {{"type", "NFC"}}, true),
          seed(sequence(removed), nullptr, false)};
}

void run(std::string_view input) {
  BytePairTokenizer tokenizer{std::string(input), "fuzz.json"};
  constexpr std::string_view text = "the memory of  e\u0301 1234 ﬁ\n\t<|end|>written 𝄞 \xFF";
  tokenizer.decode(tokenizer.encode(text));
  tokenizer.reads_special = true;
  const std::vector<std::int32_t> tokens = tokenizer.encode(text);
  tokenizer.decode(tokens);
  TokenDecoder decoder(tokenizer);
  for (const std::int32_t token : tokens) decoder.append(token);
  decoder.finish();
}

}  // namespace palimpsest::fuzz
