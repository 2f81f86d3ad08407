#include "launch/inference/drawn_text.h"

#include <utility>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

DrawnText::DrawnText(const Tokenizer& tokenizer)
    : tokenizer_(&tokenizer),
      decoder_(tokenizer),
      stops_({}),
      seen_(static_cast<std::size_t>(tokenizer.vocab_size()), std::uint8_t{0}) {}

DrawnText::DrawnText(const Tokenizer& tokenizer, const DrawnState& state)
    : tokenizer_(&tokenizer),
      decoder_(tokenizer, state.at_start, state.pending),
      stops_({}, state.held),
      draws_(state.draws),
      ended_(state.ended),
      seen_(state.seen) {
  if (static_cast<std::int64_t>(seen_.size()) != tokenizer.vocab_size()) {
    throw DataError(fmt::format("a state of a vocabulary of {} tokens, the tokenizer has {}", seen_.size(),
                                tokenizer.vocab_size()));
  }
}

DrawnState DrawnText::state() const {
  return {draws_, ended_, decoder_.at_start(), stops_.held(), std::string(decoder_.pending()), seen_};
}

void DrawnText::append(std::span<const std::int32_t> tokens) {
  ended_ = false;
  stop_at({});
  flush();
  for (const std::int32_t token : tokens) {
    decoder_.append(token);
    seen_.at(static_cast<std::size_t>(token)) = 1;
  }
}

void DrawnText::stop_at(std::vector<std::string> stops) { stops_ = StopStrings(std::move(stops), stops_.held()); }

DrawnText::Draw DrawnText::draw(std::span<const float> logits, const SamplingOptions& options) {
  const std::int32_t token = sample_token(logits, options, draws_++, seen_);
  Draw result{token, log_probability(logits, token), {}};
  ended_ = token == tokenizer_->end_id();
  if (ended_) return result;
  seen_[static_cast<std::size_t>(token)] = 1;
  result.text = stops_.append(decoder_.append(token));
  if (stops_.found()) decoder_.finish();  // what follows a stop string is given up
  return result;
}

std::string DrawnText::flush() {
  std::string text = stops_.held() + decoder_.finish();
  stops_ = StopStrings({});
  return text;
}

}  // namespace palimpsest
