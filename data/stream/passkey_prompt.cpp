#include "data/stream/passkey_prompt.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "data/text/passkey_words.h"

namespace palimpsest {

namespace {

constexpr std::int64_t depth_tolerance = 2000;  // tokens

/// Copies what of `tokens`, which stand from `at` on, falls into `target`, which begins at `begin`.
void overlay(std::span<const std::int32_t> tokens, std::int64_t at, std::int64_t begin,
             std::span<std::int32_t> target) {
  const std::int64_t from = std::max(at, begin);
  const std::int64_t to =
      std::min(at + static_cast<std::int64_t>(tokens.size()), begin + static_cast<std::int64_t>(target.size()));
  for (std::int64_t t = from; t < to; ++t) {
    target[static_cast<std::size_t>(t - begin)] = tokens[static_cast<std::size_t>(t - at)];
  }
}

}  // namespace

// What is said; where it stands comes later.
PasskeyPrompt::PasskeyPrompt(std::shared_ptr<const PasskeyLanguage> language, std::int64_t length, std::int64_t keys,
                             std::int64_t questions, Draws& draws, const std::string& asked_for)
    : language_(std::move(language)), length_(length) {
  std::vector<std::int64_t> names(passkey_words::names.size());
  std::iota(names.begin(), names.end(), 0);
  for (std::int64_t i = 0; i < keys; ++i) {
    std::swap(names[static_cast<std::size_t>(i)],
              names[static_cast<std::size_t>(i + draws.below(static_cast<std::int64_t>(names.size()) - i))]);
  }
  asked_ = draws.below(keys);
  const PasskeyTask& task = language_->task();
  std::vector<std::string> last_digits(static_cast<std::size_t>(keys));
  for (std::int64_t key = 0; key < keys; ++key) {
    const std::int64_t name = names[static_cast<std::size_t>(key)];
    for (std::int64_t i = 0; i <= task.updates; ++i) {
      std::string digits;
      for (std::int64_t digit = 0; digit < task.digits; ++digit) digits += static_cast<char>('0' + draws.below(10));
      if (key == asked_ && i == task.updates && !asked_for.empty()) digits = asked_for;
      statements_.push_back({0, language_->statement(name, digits, i > 0), digits, key, i > 0});
      last_digits[static_cast<std::size_t>(key)] = digits;
    }
  }
  if (language_->text() != nullptr) offset_ = draws.below(language_->text()->token_count());
  for (std::int64_t i = 0; i < questions; ++i) {
    const auto key = static_cast<std::size_t>(i == 0 ? asked_ : draws.below(keys));
    questions_.push_back(language_->question(names[key], last_digits[key]));
  }
}

std::int64_t PasskeyPrompt::spoken() const {
  auto tokens = static_cast<std::int64_t>(language_->introduction().size());
  for (const Statement& statement : statements_) tokens += static_cast<std::int64_t>(statement.tokens.size());
  return tokens;
}

std::int64_t PasskeyPrompt::questions_end() const {
  std::int64_t end = question_begin_;
  for (const PasskeyLanguage::Question& question : questions_) end += size_of(question);
  return end;
}

std::vector<std::pair<std::int64_t, std::int64_t>> PasskeyPrompt::answers() const {
  std::vector<std::pair<std::int64_t, std::int64_t>> answers;
  std::int64_t begin = question_begin_;
  for (const PasskeyLanguage::Question& question : questions_) {
    answers.emplace_back(begin + question.answer, begin + size_of(question));
    begin += size_of(question);
  }
  return answers;
}

std::int64_t PasskeyPrompt::put_questions(std::int64_t begin) {
  question_begin_ = begin;
  const std::int64_t taken = spoken();
  if (begin < taken) {
    throw ConfigError(
        fmt::format("passkey: a prompt of {} tokens cannot hold {} statements: they take {} tokens in all", length_,
                    statements_.size(), taken + size_of(questions_.front())));
  }
  return begin - taken;
}

void PasskeyPrompt::put_statements(std::vector<double> filler_before) {
  // What replaces a key comes after it.
  const auto repeats = static_cast<std::ptrdiff_t>(language_->task().updates + 1);
  for (auto key = filler_before.begin(); key != filler_before.end(); key += repeats) std::sort(key, key + repeats);
  std::vector<std::size_t> order(statements_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return filler_before[i]; });
  std::vector<Statement> sorted;
  auto taken = static_cast<std::int64_t>(language_->introduction().size());
  for (const std::size_t i : order) {
    sorted.push_back(std::move(statements_[i]));
    sorted.back().begin = taken + static_cast<std::int64_t>(filler_before[i]);
    taken += static_cast<std::int64_t>(sorted.back().tokens.size());
  }
  statements_ = std::move(sorted);
}

void PasskeyPrompt::move_onto_borders(std::int64_t segment_length, double share, Draws& draws) {
  for (std::size_t i = 0; i < statements_.size(); ++i) {
    Statement& statement = statements_[i];
    const auto size = static_cast<std::int64_t>(statement.tokens.size());
    const bool wanted = draws.uniform() < share;
    const std::int64_t before = 1 + draws.below(std::max<std::int64_t>(size - 1, 1));  // tokens left of the border
    const std::int64_t begin = (statement.begin / segment_length + 1) * segment_length - before;
    const std::int64_t least =
        i == 0 ? static_cast<std::int64_t>(language_->introduction().size()) : statements_[i - 1].end();
    const std::int64_t most = i + 1 == statements_.size() ? question_begin_ : statements_[i + 1].begin;
    if (wanted && begin >= least && begin + size <= most) statement.begin = begin;
  }
}

PasskeyPrompt PasskeyPrompt::for_training(std::shared_ptr<const PasskeyLanguage> language, std::int64_t length,
                                          const Spread& spread, Draws& draws) {
  const std::int64_t keys = spread.keys > 0 ? spread.keys : language->task().keys;
  PasskeyPrompt prompt(std::move(language), length, keys, spread.questions, draws, {});
  // The last segment may be short; the questions lie within it all the same, behind all that there is to say.
  const std::int64_t last = (length - 1) % spread.segment_length + 1;
  const std::int64_t most = std::min(last, length - prompt.spoken());
  std::int64_t asking = prompt.questions_end();
  for (; prompt.questions_.size() > 1 && asking > most; prompt.questions_.pop_back()) {
    asking -= size_of(prompt.questions_.back());
  }
  const std::int64_t play = std::max<std::int64_t>(most - asking, 0);
  const bool anywhere = draws.uniform() < spread.question_anywhere;
  const std::int64_t back = draws.below(play + 1);
  const std::int64_t room = prompt.put_questions(length - asking - (anywhere ? back : 0));
  std::vector<double> filler_before;
  for (std::size_t i = 0; i < prompt.statements_.size(); ++i) {
    filler_before.push_back(draws.uniform() * static_cast<double>(room + 1));
  }
  prompt.put_statements(std::move(filler_before));
  prompt.move_onto_borders(spread.segment_length, spread.across_borders, draws);
  return prompt;
}

PasskeyPrompt PasskeyPrompt::for_evaluation(std::shared_ptr<const PasskeyLanguage> language, std::int64_t length,
                                            double depth, Draws& draws, const std::string& asked_for) {
  const std::int64_t keys = language->task().keys;
  PasskeyPrompt prompt(std::move(language), length, keys, 1, draws, asked_for);
  if (!asked_for.empty()) prompt.offset_ = 0;  // a text of one's own is read from its beginning
  const auto room = static_cast<double>(prompt.put_questions(length - size_of(prompt.questions_.front())));
  const double width = std::min({static_cast<double>(depth_tolerance), static_cast<double>(length) / 8, room});
  const double asked = depth * (room - width) + draws.uniform() * width;
  std::vector<double> filler_before;
  const std::int64_t updates = prompt.language_->task().updates;
  const auto period = static_cast<double>(prompt.language_->filler_period());
  for (std::int64_t key = 0; key < keys; ++key) {
    for (std::int64_t i = 0; i <= updates; ++i) {
      const double anywhere = draws.uniform() * (key == prompt.asked_ ? asked : room);
      const double before = key == prompt.asked_ && i == updates ? asked : anywhere;
      filler_before.push_back(before - std::fmod(before, period));
    }
  }
  prompt.put_statements(std::move(filler_before));
  return prompt;
}

std::int64_t PasskeyPrompt::shared_beginning() const {
  const auto introduction = static_cast<std::int64_t>(language_->introduction().size());
  const std::int64_t filler = statements_.front().begin - introduction;
  const bool whole_sentences = language_->text() == nullptr && filler % language_->filler_period() == 0;
  return introduction + (whole_sentences ? filler : 0);
}

bool PasskeyPrompt::is_filler(std::int64_t begin, std::int64_t end) const {
  if (begin < static_cast<std::int64_t>(language_->introduction().size()) || end > question_begin_) return false;
  return std::ranges::none_of(statements_, [&](const Statement& s) { return s.begin < end && s.end() > begin; });
}

void PasskeyPrompt::read(std::int64_t begin, std::span<std::int32_t> target) const {
  const std::int64_t end = begin + static_cast<std::int64_t>(target.size());
  if (language_->text() != nullptr) {
    language_->filler(offset_, begin, target);
  } else {
    // The sentences end where the first statement begins, and begin anew after each one.
    std::int64_t from = 0, phase = -statements_.front().begin;
    for (std::size_t i = 0; i <= statements_.size(); ++i) {
      const std::int64_t to = i < statements_.size() ? statements_[i].begin : length_;
      const std::int64_t first = std::max(from, begin), last = std::min(to, end);
      if (first < last) {
        language_->filler(
            phase, first,
            target.subspan(static_cast<std::size_t>(first - begin), static_cast<std::size_t>(last - first)));
      }
      if (i < statements_.size()) phase = -(from = statements_[i].end());
    }
  }
  overlay(language_->introduction(), 0, begin, target);
  for (const Statement& statement : statements_) overlay(statement.tokens, statement.begin, begin, target);
  std::int64_t asked_at = question_begin_;
  for (const PasskeyLanguage::Question& question : questions_) {
    overlay(question.tokens, asked_at, begin, target);
    asked_at += size_of(question);
  }
  for (std::int64_t t = std::max(asked_at, begin); t < end; ++t) {
    target[static_cast<std::size_t>(t - begin)] = language_->tokenizer().end_id();
  }
}

}  // namespace palimpsest
