// What a continuation of a text is told, and what is told of it afterwards.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/inference/sampler.h"

namespace palimpsest {

/// Each has a state of its own.
inline constexpr std::int64_t most_beams = 1024;

struct GenerationOptions {
  SamplingOptions sampling;
  std::int64_t max_tokens = 200;
  std::vector<std::string> stop = {};  // texts that end it; they are not part of it
  std::int64_t beams = 1;              // more than 1: the likeliest text is searched for (beam_search.h), none drawn
  double length_penalty = 1;           // of that search
};

/// Throws ConfigError naming the option whose value cannot be.
void check(const GenerationOptions& options);

/// Why a generation came to its end: so many tokens as were asked for, the model's own end token, a stop string, or
/// because the caller wanted it to.
enum class Finish { length, end, stop, interrupted };
/// "length", "end", "stop", "interrupted".
std::string_view name_of(Finish finish);

struct GenerationResult {
  std::int64_t tokens = 0;  // the end token not counted
  Finish finish = Finish::length;
  double seconds = 0;
};

/// Receives the continuation as it comes, in pieces of valid UTF-8.
using TextSink = std::function<void(std::string_view text)>;
/// Asked now and then whether to go on.
using GoesOn = std::function<bool()>;

}  // namespace palimpsest
