#include "launch/inference/batch_generator.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

/// A prompt on its way.
class Lane {
 public:
  Lane(std::size_t index, const Prompt& prompt, const Tokenizer& tokenizer, const GenerationOptions& options)
      : index_(index), options_(options), unread_{tokenizer.begin_id()}, drawn_(tokenizer) {
    options_.sampling.seed = prompt.seed.value_or(options.sampling.seed);
    options_.max_tokens = prompt.max_tokens.value_or(options.max_tokens);
    const std::vector<std::int32_t> tokens = tokenizer.encode(prompt.text);
    drawn_.append(tokens);
    drawn_.stop_at(options.stop);
    unread_.insert(unread_.end(), tokens.begin(), tokens.end());
    result_.prompt_tokens = static_cast<std::int64_t>(unread_.size());
  }

  std::size_t index() const { return index_; }
  /// Whether there is nothing to be drawn.
  bool finished() const { return finished_ || options_.max_tokens == 0; }
  BatchResult result() {
    if (result_.finish != Finish::stop) result_.text += drawn_.flush();
    return std::move(result_);
  }

  /// The next tokens to read, `most` at most.
  std::vector<std::int32_t> take(std::int64_t most) {
    const auto end = std::min(next_ + most, static_cast<std::int64_t>(unread_.size()));
    std::vector<std::int32_t> tokens(unread_.begin() + std::exchange(next_, end), unread_.begin() + end);
    return tokens;
  }
  /// After the tokens taken: draws the next one unless some are still to be read.
  void draw(std::span<const float> logits) {
    if (next_ < static_cast<std::int64_t>(unread_.size())) return;
    const DrawnText::Draw draw = drawn_.draw(logits, options_.sampling);
    if (drawn_.ended()) return finish(Finish::end);
    result_.tokens.push_back(draw.token);
    result_.log_probabilities.push_back(draw.log_probability);
    result_.text += draw.text;
    unread_ = {draw.token};
    next_ = 0;
    if (drawn_.stopped()) return finish(Finish::stop);
    if (static_cast<std::int64_t>(result_.tokens.size()) == options_.max_tokens) finish(Finish::length);
  }

 private:
  void finish(Finish how) {
    finished_ = true;
    result_.finish = how;
  }

  std::size_t index_;
  GenerationOptions options_;
  std::vector<std::int32_t> unread_;  // from next_ on
  std::int64_t next_ = 0;
  DrawnText drawn_;
  BatchResult result_;
  bool finished_ = false;
};

}  // namespace

bool generate_batch(const LanguageModel& model, const Tokenizer& tokenizer, const std::vector<Prompt>& prompts,
                    const GenerationOptions& options, std::int64_t lanes,
                    const std::function<void(std::size_t index, BatchResult result)>& done, const GoesOn& goes_on) {
  check(options);
  if (options.beams > 1) {
    throw ConfigError(fmt::format("--beams is {} with many prompts at once: expected 1", options.beams));
  }
  require_vocabulary(model, tokenizer);
  MemoryPool pool;
  const std::int64_t count = std::clamp<std::int64_t>(static_cast<std::int64_t>(prompts.size()), 1, lanes);
  DecodeState decoder(model, pool, count);
  std::vector<std::optional<Lane>> active(static_cast<std::size_t>(count));
  std::size_t next = 0;
  const auto tokens_of = static_cast<std::size_t>(tokenizer.vocab_size());
  while (true) {
    std::vector<std::vector<std::int32_t>> tokens(active.size());
    bool any = false;
    for (std::size_t i = 0; i < active.size(); ++i) {
      std::optional<Lane>& lane = active[i];
      if (lane && lane->finished()) {
        done(lane->index(), lane->result());
        lane.reset();
      }
      while (!lane && next < prompts.size()) {
        lane.emplace(next, prompts[next], tokenizer, options);
        ++next;
        decoder.forget(static_cast<std::int64_t>(i));
        if (!lane->finished()) break;
        done(lane->index(), lane->result());
        lane.reset();
      }
      if (!lane) continue;
      any = true;
      tokens[i] = lane->take(segments_at_once * model.config().segment_length);
    }
    if (!any) return true;
    if (goes_on && !goes_on()) return false;
    const Tensor logits = decoder.advance(tokens);
    for (std::size_t i = 0; i < active.size(); ++i) {
      if (!active[i]) continue;
      const auto row = static_cast<std::int64_t>(i);
      const Tensor of_lane = logits.rows(row, row + 1);
      active[i]->draw(of_lane.values<float>().first(tokens_of));
    }
  }
}

std::string to_json_line(const Prompt& prompt, const BatchResult& result, const GenerationOptions& options,
                         bool log_probabilities) {
  nlohmann::ordered_json json = {{"id", prompt.id},
                                 {"prompt", prompt.text},
                                 {"text", result.text},
                                 {"finish", name_of(result.finish)},
                                 {"prompt_tokens", result.prompt_tokens},
                                 {"tokens", result.tokens.size()},
                                 {"seed", prompt.seed.value_or(options.sampling.seed)}};
  if (log_probabilities) {
    json["token_ids"] = result.tokens;
    json["log_probabilities"] = result.log_probabilities;
  }
  return json.dump();
}

}  // namespace palimpsest
