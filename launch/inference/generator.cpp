#include "launch/inference/generator.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "layers/decode_state.h"

namespace palimpsest {

namespace {

using Clock = std::chrono::steady_clock;

/// Segments of the prompt that pass between two reports of progress.
constexpr std::size_t segments_at_once = 16;

}  // namespace

GenerationResult generate(const LanguageModel& model, const Tokenizer& tokenizer, std::string_view prompt,
                          const GenerationOptions& options, const TextSink& write, const PromptProgress& progress) {
  check(options.sampling);
  if (tokenizer.vocab_size() > model.config().vocab_size) {
    throw DataError(fmt::format("the tokenizer has {} tokens, the model only {}", tokenizer.vocab_size(),
                                model.config().vocab_size));
  }
  std::vector<std::int32_t> tokens = {tokenizer.begin_id()};
  const std::vector<std::int32_t> text = tokenizer.encode(prompt);
  tokens.insert(tokens.end(), text.begin(), text.end());

  GenerationResult result;
  result.prompt_tokens = static_cast<std::int64_t>(tokens.size());
  MemoryPool pool;
  DecodeState decoder(model, pool);
  TokenDecoder characters(tokenizer);
  const auto start = Clock::now();
  Tensor logits;
  const std::size_t at_once = segments_at_once * static_cast<std::size_t>(model.config().segment_length);
  for (std::size_t begin = 0; begin < tokens.size(); begin += at_once) {
    logits = decoder.advance(std::span(tokens).subspan(begin, std::min(at_once, tokens.size() - begin)));
    if (progress) progress(decoder.tokens(), result.prompt_tokens);
  }
  for (const std::int32_t token : text) characters.append(token);  // the prompt is the caller's already
  result.prompt_seconds = seconds_since(start);

  const auto generation_start = Clock::now();
  for (std::int64_t i = 0; i < options.max_tokens; ++i) {
    const std::span<const float> choices =
        std::as_const(logits).values<float>().first(static_cast<std::size_t>(tokenizer.vocab_size()));
    const std::int32_t token = sample_token(choices, options.sampling, static_cast<std::uint64_t>(i));
    result.ended = token == tokenizer.end_id();
    if (result.ended) break;
    ++result.generated_tokens;
    write(characters.append(token));
    if (i + 1 < options.max_tokens) logits = decoder.advance(token);
  }
  write(characters.finish());
  result.generation_seconds = seconds_since(generation_start);
  return result;
}

}  // namespace palimpsest
