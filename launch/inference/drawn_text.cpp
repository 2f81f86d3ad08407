#include "launch/inference/drawn_text.h"

#include <algorithm>
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
      seen_(state.seen),
      recent_(state.recent) {
  if (static_cast<std::int64_t>(seen_.size()) != tokenizer.vocab_size()) {
    throw DataError(fmt::format("a state of a vocabulary of {} tokens, the tokenizer has {}", seen_.size(),
                                tokenizer.vocab_size()));
  }
  for (const std::int32_t token : recent_) {
    if (token >= 0 && token < tokenizer.vocab_size()) continue;
    throw DataError(fmt::format("drawn token {} is outside the vocabulary, {} tokens", token, tokenizer.vocab_size()));
  }
}

DrawnState DrawnText::state() const {
  return {draws_, ended_, decoder_.at_start(), stops_.held(), std::string(decoder_.pending()), seen_, recent_};
}

void DrawnText::append(std::span<const std::int32_t> tokens) {
  ended_ = false;
  recent_.clear();
  stop_at({});
  flush();
  for (const std::int32_t token : tokens) {
    decoder_.append(token);
    seen_.at(static_cast<std::size_t>(token)) = 1;
  }
}

void DrawnText::stop_at(std::vector<std::string> stops) { stops_ = StopStrings(std::move(stops), stops_.held()); }

std::vector<std::int32_t> DrawnText::forbidden(const SamplingOptions& options) const {
  std::vector<std::int32_t> tokens;
  const auto drawn = static_cast<std::int64_t>(recent_.size()), before = options.no_repeat_ngram - 1;
  if (before >= 0 && drawn >= before) {
    for (auto at = recent_.begin(); at < recent_.end() - before; ++at) {
      if (std::equal(at, at + before, recent_.end() - before)) tokens.push_back(at[before]);
    }
  }
  if (drawn >= options.min_tokens) return tokens;
  std::ranges::sort(tokens);
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  if (static_cast<std::int64_t>(tokens.size()) < tokenizer_->vocab_size() - 1) tokens.push_back(tokenizer_->end_id());
  return tokens;
}

std::string DrawnText::take(std::int32_t token, const SamplingOptions& options) {
  ++draws_;
  ended_ = token == tokenizer_->end_id();
  if (ended_) return {};
  seen_[static_cast<std::size_t>(token)] = 1;
  if (options.no_repeat_ngram > 0 || options.min_tokens > 0) recent_.push_back(token);
  std::string text = stops_.append(decoder_.append(token));
  if (stops_.found()) decoder_.finish();  // what follows a stop string is given up
  return text;
}

DrawnText::Draw DrawnText::draw(std::span<const float> logits, const SamplingOptions& options) {
  const std::int32_t token = sample_token(logits, options, draws_, seen_, forbidden(options));
  return {token, log_probability(logits, token), take(token, options)};
}

std::string DrawnText::flush() {
  std::string text = stops_.held() + decoder_.finish();
  stops_ = StopStrings({});
  return text;
}

}  // namespace palimpsest
