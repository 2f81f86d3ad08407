// Text from a trained model. The whole prompt passes through the memory; then token by token, at a
// cost and in a space that do not grow with what has been read.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "data/text/tokenizer.h"
#include "launch/inference/sampler.h"
#include "layers/language_model.h"

namespace palimpsest {

struct GenerationOptions {
  SamplingOptions sampling;
  std::int64_t max_tokens = 200;
};

struct GenerationResult {
  std::int64_t prompt_tokens = 0;     // the begin token included
  std::int64_t generated_tokens = 0;  // the end token not
  bool ended = false;                 // by the model's own end token
  double prompt_seconds = 0;
  double generation_seconds = 0;
};

/// Receives the continuation as it comes, in pieces of valid UTF-8.
using TextSink = std::function<void(std::string_view text)>;
/// Called now and then with the tokens of the prompt that have passed, and all of them.
using PromptProgress = std::function<void(std::int64_t done, std::int64_t all)>;

/// Continues `prompt` as the start of a document. Throws ConfigError on options out of range, DataError
/// when the tokenizer has more tokens than the model.
GenerationResult generate(const LanguageModel& model, const Tokenizer& tokenizer, std::string_view prompt,
                          const GenerationOptions& options, const TextSink& write, const PromptProgress& progress = {});

}  // namespace palimpsest
