#include "launch/inference/generator.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "core/elapsed.h"
#include "core/error.h"
#include "launch/inference/beam_search.h"

namespace palimpsest {

void require_vocabulary(const LanguageModel& model, const Tokenizer& tokenizer) {
  if (tokenizer.vocab_size() > model.config().vocab_size) {
    throw DataError(fmt::format("the tokenizer has {} tokens, the model only {}", tokenizer.vocab_size(),
                                model.config().vocab_size));
  }
}

Generator::Generator(const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool)
    : model_(&model), tokenizer_(&tokenizer), decoder_(model, pool), drawn_(tokenizer), unread_{tokenizer.begin_id()} {
  require_vocabulary(model, tokenizer);
}

Generator::Generator(const LanguageModel& model, const Tokenizer& tokenizer, MemoryPool& pool,
                     const GeneratorState& state)
    : Generator(model, tokenizer, pool) {
  if (state.decoder.lanes() != 1) {
    throw DataError(fmt::format("a state of {} texts: expected one", state.decoder.lanes()));
  }
  decoder_ = DecodeState(model, pool, state.decoder);
  drawn_ = DrawnText(tokenizer, state.drawn);
  const std::int64_t vocabulary = model.config().vocab_size;
  if (static_cast<std::int64_t>(state.logits.size()) != (state.unread.empty() ? vocabulary : 0)) {
    throw DataError(
        fmt::format("a state with {} logits and {} unread tokens: expected {} logits where nothing is "
                    "unread, else none",
                    state.logits.size(), state.unread.size(), vocabulary));
  }
  for (const std::int32_t token : state.unread) {
    if (token < 0 || token >= vocabulary) {
      throw DataError(
          fmt::format("unread token {} is outside the vocabulary of the model, {} tokens", token, vocabulary));
    }
  }
  unread_ = state.unread;
  if (state.logits.empty()) return;
  logits_ = Tensor(pool, Shape{vocabulary}, DataType::float32);
  std::ranges::copy(state.logits, logits_.values<float>().begin());
}

GeneratorState Generator::state() const {
  GeneratorState state{decoder_.snapshot(), {}, {unread_.begin() + next_, unread_.end()}, drawn_.state()};
  if (unread() == 0) state.logits.assign(logits_.values<float>().begin(), logits_.values<float>().end());
  return state;
}

void Generator::append(std::string_view text) { append_tokens(tokenizer_->encode(text)); }

void Generator::append_tokens(std::span<const std::int32_t> tokens) {
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= tokenizer_->vocab_size()) {
      throw DataError(fmt::format("token {} is outside the vocabulary, {} tokens", token, tokenizer_->vocab_size()));
    }
  }
  drawn_.append(tokens);
  if (tokens.empty()) return;
  unread_.erase(unread_.begin(), unread_.begin() + std::exchange(next_, 0));
  unread_.insert(unread_.end(), tokens.begin(), tokens.end());
}

bool Generator::read(const GoesOn& goes_on) {
  const std::int64_t at_once = segments_at_once * model_->config().segment_length;
  while (unread() > 0) {
    const std::int64_t count = std::min(at_once, unread());
    logits_ =
        decoder_.advance(std::span(unread_).subspan(static_cast<std::size_t>(next_), static_cast<std::size_t>(count)));
    next_ += count;
    if (goes_on && !goes_on() && unread() > 0) return false;
  }
  unread_.clear();
  next_ = 0;
  return true;
}

std::span<const float> Generator::logits() {
  read();
  return std::as_const(logits_).values<float>();
}

GenerationResult Generator::generate(const GenerationOptions& options, const TextSink& write, const GoesOn& goes_on) {
  check(options);
  const auto start = std::chrono::steady_clock::now();
  drawn_.stop_at(options.stop);
  GenerationResult result = options.beams > 1 ? search(options, write, goes_on) : draw(options, write, goes_on);
  result.seconds = seconds_since(start);
  return result;
}

GenerationResult Generator::draw(const GenerationOptions& options, const TextSink& write, const GoesOn& goes_on) {
  GenerationResult result;
  const auto finished = [&](Finish finish) {
    result.finish = finish;
    return result;
  };
  while (result.tokens < options.max_tokens) {
    if (drawn_.ended()) return finished(Finish::end);
    if ((goes_on && !goes_on()) || !read(goes_on)) return finished(Finish::interrupted);
    const DrawnText::Draw draw =
        drawn_.draw(std::as_const(logits_).values<float>().first(static_cast<std::size_t>(tokenizer_->vocab_size())),
                    options.sampling);
    if (drawn_.ended()) return finished(Finish::end);
    ++result.tokens;
    unread_.push_back(draw.token);
    write(draw.text);
    if (drawn_.stopped()) return finished(Finish::stop);
  }
  return finished(Finish::length);
}

GenerationResult Generator::search(const GenerationOptions& options, const TextSink& write, const GoesOn& goes_on) {
  GenerationResult result;
  if (options.max_tokens == 0) return result;
  result.finish = Finish::end;
  if (drawn_.ended()) return result;
  result.finish = Finish::interrupted;
  if (!read(goes_on)) return result;
  BeamText found =
      search_beams(decoder_, std::as_const(logits_).values<float>(), drawn_, *tokenizer_, options, goes_on);
  drawn_ = std::move(found.drawn);
  unread_ = std::move(found.tokens);  // read again where the text goes on
  result.tokens = unread();
  result.finish = found.finish;
  write(found.text);
  return result;
}

}  // namespace palimpsest
