#include "launch/inference/beam_search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>

namespace palimpsest {

namespace {

/// A token that may follow one of the open texts.
struct Candidate {
  std::int64_t beam;
  std::int32_t token;
  double log_probability;  // of the text with it
};

/// The `count` likeliest successors of a text, likeliest first, equal ones in the order of their ids.
void add_candidates(const BeamText& text, std::int64_t beam, std::span<const float> logits,
                    const SamplingOptions& options, std::size_t count, std::vector<Candidate>& candidates) {
  std::vector<float> left = text.drawn.penalized(logits, options);
  const double likeliest = std::ranges::max(left);
  double total = 0;
  for (const float logit : left) total += std::exp(logit - likeliest);
  const double share = likeliest + std::log(total);
  for (const std::int32_t token : text.drawn.forbidden(options)) left[static_cast<std::size_t>(token)] = no_logit;
  std::vector<std::int32_t> tokens;
  for (std::size_t token = 0; token < left.size(); ++token) {
    if (left[token] != no_logit) tokens.push_back(static_cast<std::int32_t>(token));
  }
  const auto kept = tokens.begin() + static_cast<std::ptrdiff_t>(std::min(count, tokens.size()));
  const auto logit = [&](std::int32_t token) { return left[static_cast<std::size_t>(token)]; };
  std::partial_sort(tokens.begin(), kept, tokens.end(),
                    [&](std::int32_t a, std::int32_t b) { return logit(a) != logit(b) ? logit(a) > logit(b) : a < b; });
  for (auto token = tokens.begin(); token < kept; ++token) {
    candidates.push_back({beam, *token, text.log_probability + (logit(*token) - share)});
  }
}

class Search {
 public:
  Search(const DecodeState& before, std::span<const float> logits, const DrawnText& drawn, const Tokenizer& tokenizer,
         const GenerationOptions& options)
      : options_(options),
        vocabulary_(static_cast<std::size_t>(tokenizer.vocab_size())),
        places_(static_cast<std::size_t>(options.beams)),
        decoder_(before.copies(options.beams)),
        open_{BeamText{drawn, {}, {}}},
        logits_{{logits.begin(), logits.begin() + tokenizer.vocab_size()}} {}

  BeamText run(const GoesOn& goes_on) {
    for (std::int64_t length = 1; !open_.empty(); ++length) {
      if (goes_on && !goes_on()) {
        close_all(Finish::interrupted, length - 1);
        best_->finish = Finish::interrupted;  // one that had ended, too: another might have become better
        break;
      }
      const std::vector<std::int64_t> sources = extend(length);
      if (length == options_.max_tokens) close_all(Finish::length, length);
      if (hopeless()) break;
      if (!open_.empty()) read(sources);
    }
    return std::move(*best_);
  }

 private:
  double score(double log_probability, std::int64_t length) const {
    return log_probability / std::pow(static_cast<double>(std::max<std::int64_t>(length, 1)), options_.length_penalty);
  }

  /// Every open text gets its next token. -> of those that are still open, where they come from.
  std::vector<std::int64_t> extend(std::int64_t length) {
    std::vector<Candidate> candidates;
    for (std::size_t beam = 0; beam < open_.size(); ++beam) {
      add_candidates(open_[beam], static_cast<std::int64_t>(beam), logits_[beam], options_.sampling, places_,
                     candidates);
    }
    std::ranges::stable_sort(candidates, std::ranges::greater(), &Candidate::log_probability);
    if (candidates.size() > places_) candidates.resize(places_);
    std::vector<BeamText> next;
    std::vector<std::int64_t> sources;
    for (const auto& [beam, token, log_probability] : candidates) {
      BeamText text = open_[static_cast<std::size_t>(beam)];
      text.text += text.drawn.take(token, options_.sampling);
      text.log_probability = log_probability;
      if (text.drawn.ended()) {
        close(std::move(text), Finish::end, length);
        continue;
      }
      text.tokens.push_back(token);
      if (text.drawn.stopped()) {
        close(std::move(text), Finish::stop, length);
        continue;
      }
      next.push_back(std::move(text));
      sources.push_back(beam);
    }
    open_ = std::move(next);
    return sources;
  }

  void close(BeamText text, Finish finish, std::int64_t length) {
    if (finish == Finish::end || finish == Finish::stop) --places_;
    text.finish = finish;
    text.score = score(text.log_probability, length);
    if (!best_ || text.score > best_->score) best_ = std::move(text);
  }
  void close_all(Finish finish, std::int64_t length) {
    for (BeamText& text : std::exchange(open_, {})) close(std::move(text), finish, length);
  }

  /// Whether no open text can become better than the best that ended: every token makes a text less likely, and at
  /// most as many come as may.
  bool hopeless() const {
    return best_ && std::ranges::all_of(open_, [&](const BeamText& text) {
             return score(text.log_probability, options_.max_tokens) <= best_->score;
           });
  }

  void read(std::vector<std::int64_t> sources) {
    std::vector<std::vector<std::int32_t>> tokens(static_cast<std::size_t>(options_.beams));
    for (std::size_t beam = 0; beam < open_.size(); ++beam) tokens[beam] = {open_[beam].tokens.back()};
    for (std::int64_t beam = std::ssize(sources); beam < options_.beams; ++beam) sources.push_back(beam);  // as it is
    decoder_.rearrange(sources);
    const Tensor logits = decoder_.advance(tokens);
    logits_.clear();
    for (std::size_t beam = 0; beam < open_.size(); ++beam) {
      const auto row = static_cast<std::int64_t>(beam);
      const Tensor of_beam = logits.rows(row, row + 1);
      const std::span<const float> values = of_beam.values<float>().first(vocabulary_);
      logits_.emplace_back(values.begin(), values.end());
    }
  }

  const GenerationOptions& options_;
  std::size_t vocabulary_;
  std::size_t places_;  // of open texts, and what is chosen of the next step
  DecodeState decoder_;
  std::vector<BeamText> open_;
  std::vector<std::vector<float>> logits_;  // of each
  std::optional<BeamText> best_;
};

}  // namespace

BeamText search_beams(const DecodeState& before, std::span<const float> logits, const DrawnText& drawn,
                      const Tokenizer& tokenizer, const GenerationOptions& options, const GoesOn& goes_on) {
  return Search(before, logits, drawn, tokenizer, options).run(goes_on);
}

}  // namespace palimpsest
