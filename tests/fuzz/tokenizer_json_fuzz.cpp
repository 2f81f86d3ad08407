// tokenizer.json of byte-level BPE: whatever is accepted encodes text, and decodes every token that it makes.
#include <nlohmann/json.hpp>

#include "data/text/byte_pair_tokenizer.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

namespace {

std::string seed(const nlohmann::json& rules, const nlohmann::json& normalizer) {
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
  const nlohmann::json json = {{"added_tokens", {{{"id", 258}, {"content", "<|end|>"}, {"special", true}}}},
                               {"normalizer", normalizer},
                               {"pre_tokenizer", rules},
                               {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"t h", "th e"}}}}};
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
  return {seed(bytes, nullptr),
          seed({{"type", "Sequence"}, {"pretokenizers", {split, digits, bytes}}}, {{"type", "NFC"}})};
}

void run(std::string_view input) {
  const BytePairTokenizer tokenizer{std::string(input), "fuzz.json"};
  const std::vector<std::int32_t> tokens = tokenizer.encode("the memory of  e\u0301 1234 ﬁ\n\t<|end|>written 𝄞 \xFF");
  tokenizer.decode(tokens);
  TokenDecoder decoder(tokenizer);
  for (const std::int32_t token : tokens) decoder.append(token);
  decoder.finish();
}

}  // namespace palimpsest::fuzz
