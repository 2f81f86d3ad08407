#include "launch/inference/summarizer.h"

namespace palimpsest {

std::string text_to_read(const PairTemplate& pair, const std::string& document, bool with_prompt) {
  return pair.before + document + (with_prompt ? pair.between : std::string());
}

Summary write_summary(Generator& reader, const PairTemplate& pair, GenerationOptions options, bool prompts,
                      const GoesOn& goes_on) {
  if (prompts) reader.append(pair.between);
  if (!pair.after.empty()) options.stop.push_back(pair.after);
  Summary summary;
  summary.result = reader.generate(
      options, [&](std::string_view text) { summary.text += text; }, goes_on);
  summary.text += reader.flush();
  return summary;
}

}  // namespace palimpsest
