// Summaries: a document, and what a template puts behind it, pass through a model, which writes on (docs/summaries.md).
#pragma once

#include <cstdint>
#include <string>

#include "data/text/json_records.h"
#include "launch/inference/generator.h"

namespace palimpsest {

/// A document as the model reads it, and behind it, `with_prompt`, what the template has between document and summary:
/// encoded as one text, as `pack` does it. Without, it can be asked for a summary later.
std::string text_to_read(const PairTemplate& pair, const std::string& document, bool with_prompt);

struct Summary {
  std::string text;  // valid UTF-8
  GenerationResult result;
};

/// Goes on with a summary, `prompts`: behind what the template has in front of it. It ends where the template goes on
/// behind the summary, too. Throws what Generator::generate does.
Summary write_summary(Generator& reader, const PairTemplate& pair, GenerationOptions options, bool prompts,
                      const GoesOn& goes_on = {});

}  // namespace palimpsest
