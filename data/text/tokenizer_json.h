// tokenizer.json, in which Hugging Face's tokenizers are published, as far as it describes byte-level BPE: tokens that
// are strings of bytes, and the order in which neighbours merge (Radford et al. 2019, "Language Models are Unsupervised
// Multitask Learners", section 2.2; Llama 3, Qwen and SmolLM followed).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace palimpsest {

/// A step that cuts text into pieces, none of which a merge crosses.
struct PieceRule {
  std::string pattern;     // of a regular expression
  bool keeps_rest = true;  // whether what lies between matches makes pieces, too, or goes
};

struct BytePairDescription {
  struct Merge {
    std::int32_t left, right, result;
  };
  struct Added {
    std::string content;
    std::int32_t id;
    bool special;     // a mark, no text: only what asks for it finds it in text
    bool normalized;  // looked for in normalised text; others before
  };

  std::vector<std::string> tokens;  // by id, the bytes that each stands for; empty where there is none
  std::vector<std::int32_t> bytes;  // the tokens of the 256 bytes
  std::unordered_map<std::string, std::int32_t>
      vocabulary;             // the tokens that text may become by merges, by their bytes
  std::vector<Merge> merges;  // the first goes first
  std::vector<Added> added;
  std::vector<PieceRule> rules;     // each cuts the pieces of the one before
  bool composes = false;            // Unicode's normal form C comes first
  bool whole_pieces_first = false;  // a piece that is a token is not merged
};

/// Throws FileError, starting with `name`, on anything that is not byte-level BPE, or has something that would change
/// the tokens and is not supported, which it names.
BytePairDescription parse_tokenizer_json(std::string_view text, const std::string& name);

}  // namespace palimpsest
