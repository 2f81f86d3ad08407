// Sentences to tokens.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "data/stream/passkey_prompt.h"
#include "data/text/passkey_words.h"

namespace palimpsest {

namespace {

constexpr std::int64_t most_digits = 1000;

void require(std::int64_t value, std::int64_t least, std::int64_t most, const char* name) {
  if (value < least || value > most) {
    throw ConfigError(fmt::format("passkey: {} is {}, expected {} to {}", name, value, least, most));
  }
}

std::size_t common_prefix(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

PasskeyLanguage::PasskeyLanguage(std::shared_ptr<const Tokenizer> tokenizer, const PasskeyTask& task,
                                 std::shared_ptr<const TokenFile> filler)
    : tokenizer_(std::move(tokenizer)), task_(task), text_(std::move(filler)) {
  require(task.digits, 1, most_digits, "digits");
  require(task.keys, 1, static_cast<std::int64_t>(passkey_words::names.size()), "keys");
  require(task.updates, 0, 100, "updates");
  if (text_ && text_->tokenizer_identity() != tokenizer_->identity()) {
    throw ConfigError(fmt::format("{}: was packed with tokenizer {}, the prompt is written with {}",
                                  text_->path().string(), text_->tokenizer_identity(), tokenizer_->identity()));
  }
  introduction_ = tokenizer_->encode(passkey_words::introduction);
  introduction_.insert(introduction_.begin(), tokenizer_->begin_id());
  sentences_ = after_text(std::string(passkey_words::filler));
  std::vector<std::int32_t> statement = this->statement(0, "0123456789", true);
  for (const auto* tokens : {&introduction_, &sentences_, &statement}) {
    if (std::ranges::find(*tokens, tokenizer_->unknown_id()) != tokens->end()) {
      throw ConfigError(fmt::format("passkey: the tokenizer {} does not know the words of the prompt: \"{}\"",
                                    tokenizer_->identity(), tokenizer_->decode(*tokens)));
    }
  }
}

/// A text as it is encoded behind other text, where a tokenizer may put a space or mark a start.
std::vector<std::int32_t> PasskeyLanguage::after_text(const std::string& text) const {
  const std::vector<std::int32_t> before = tokenizer_->encode("again."), both = tokenizer_->encode("again. " + text);
  return {both.begin() + static_cast<std::ptrdiff_t>(common_prefix(before, both)), both.end()};
}

std::string PasskeyLanguage::with_name(std::string_view before, std::int64_t name, std::string_view after) const {
  if (task_.keys == 1) return "";
  return fmt::format("{}{}{}", before, passkey_words::names[static_cast<std::size_t>(name)], after);
}

std::vector<std::int32_t> PasskeyLanguage::statement(std::int64_t name, const std::string& digits,
                                                     bool replaces) const {
  const std::string_view form = replaces ? passkey_words::replacement : passkey_words::statement;
  return after_text(fmt::format(fmt::runtime(form), with_name("", name, " ") + digits));
}

PasskeyLanguage::Question PasskeyLanguage::question(std::int64_t name, const std::string& digits) const {
  const std::string asked =
      fmt::format(fmt::runtime(passkey_words::question), with_name(" of ", name, ""), with_name(" ", name, ""));
  Question question{after_text(asked + " " + digits), 0};
  question.answer = static_cast<std::int64_t>(common_prefix(question.tokens, after_text(asked)));
  // A space that is a token of its own is no part of the answer.
  const auto has_digit = [&](std::int64_t i) {
    bool at_start = false;
    const std::string bytes = tokenizer_->token_bytes(question.tokens[static_cast<std::size_t>(i)], at_start);
    return bytes.find_first_of("0123456789") != std::string::npos;
  };
  const auto size = static_cast<std::int64_t>(question.tokens.size());
  while (question.answer + 1 < size && !has_digit(question.answer)) ++question.answer;
  return question;
}

void PasskeyLanguage::filler(std::int64_t offset, std::int64_t begin, std::span<std::int32_t> target) const {
  if (!text_) {
    const auto period = static_cast<std::int64_t>(sentences_.size());
    std::int64_t at = ((begin + offset) % period + period) % period;
    for (std::int32_t& token : target) {
      token = sentences_[static_cast<std::size_t>(at)];
      if (++at == period) at = 0;
    }
    return;
  }
  for (std::size_t done = 0; done < target.size();) {
    const std::int64_t at = (offset + begin + static_cast<std::int64_t>(done)) % text_->token_count();
    const auto count =
        std::min<std::int64_t>(static_cast<std::int64_t>(target.size() - done), text_->token_count() - at);
    text_->read(at, target.subspan(done, static_cast<std::size_t>(count)));
    done += static_cast<std::size_t>(count);
  }
  // One prompt is one document.
  for (std::int32_t& token : target) {
    if (token == text_->begin_id() || token == text_->end_id()) token = sentences_.front();
  }
}

}  // namespace palimpsest
