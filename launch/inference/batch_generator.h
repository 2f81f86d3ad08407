// Continuing many prompts side by side, each in a lane of one decoding; a lane that has finished one takes the next.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "launch/inference/generator.h"
#include "launch/inference/prompt_file.h"

namespace palimpsest {

struct BatchResult {
  std::string text;  // valid UTF-8
  Finish finish = Finish::length;
  std::int64_t prompt_tokens = 0;         // the begin token included
  std::vector<std::int32_t> tokens;       // drawn, without the end token
  std::vector<double> log_probabilities;  // of each of them, by the model alone
};

/// Continues every prompt as a document of its own, with the options' max_tokens and seed where it has none, and calls
/// `done` with its index and result when it is finished, in any order. At most `lanes` at once: up to rounding, what
/// becomes of a prompt depends on no other. False where `goes_on`, asked between two tokens, said no: `done` has not
/// been called for all then. Throws what `check` does, ConfigError on several beams, DataError when the tokenizer has
/// more tokens than the model, and NumericalError.
bool generate_batch(const LanguageModel& model, const Tokenizer& tokenizer, const std::vector<Prompt>& prompts,
                    const GenerationOptions& options, std::int64_t lanes,
                    const std::function<void(std::size_t index, BatchResult result)>& done, const GoesOn& goes_on = {});

/// One line for a prompt and its result (docs/file-formats.md, "Prompts and results"), without a line end.
std::string to_json_line(const Prompt& prompt, const BatchResult& result, const GenerationOptions& options,
                         bool log_probabilities);

}  // namespace palimpsest
