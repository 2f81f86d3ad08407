#include "launch/inference/generation_options.h"

#include <fmt/format.h>

#include "core/error.h"
#include "data/text/utf8.h"

namespace palimpsest {

void check(const GenerationOptions& options) {
  check(options.sampling);
  for (const std::string& stop : options.stop) {
    if (stop.empty() || find_invalid_utf8(stop)) {
      throw ConfigError(fmt::format("--stop is {}: expected a text", stop.empty() ? "empty" : "not UTF-8"));
    }
  }
  if (options.beams < 1 || options.beams > most_beams) {
    throw ConfigError(fmt::format("--beams is {}: expected 1 to {}", options.beams, most_beams));
  }
  if (!(options.length_penalty >= 0 && options.length_penalty <= 10)) {
    throw ConfigError(fmt::format("--length-penalty is {}: expected 0 to 10", options.length_penalty));
  }
  if (options.beams == 1 && options.length_penalty != 1) {
    throw ConfigError(fmt::format("--length-penalty is {} without a search: expected --beams of at least 2, too",
                                  options.length_penalty));
  }
  const SamplingOptions& sampling = options.sampling;
  const bool draws = (sampling.temperature != 0 && sampling.temperature != 1) || sampling.top_k != 0 ||
                     sampling.top_p != 1 || sampling.min_p != 0;
  if (options.beams > 1 && draws) {
    throw ConfigError(fmt::format(
        "--beams is {}, which draws nothing: leave out --temperature, --top-k, --top-p and --min-p", options.beams));
  }
}

std::string_view name_of(Finish finish) {
  switch (finish) {
    case Finish::end: return "end";
    case Finish::stop: return "stop";
    case Finish::interrupted: return "interrupted";
    case Finish::length: break;
  }
  return "length";
}

}  // namespace palimpsest
