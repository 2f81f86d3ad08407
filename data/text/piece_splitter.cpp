#include "data/text/piece_splitter.h"

#include <algorithm>
#include <limits>
#include <new>

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/regex.h>
#include <unicode/unistr.h>

#include "core/error.h"
#include "core/printable.h"
#include "data/text/utf8.h"

namespace palimpsest {

namespace {

/// Of one match, in units of about a millisecond.
constexpr std::int32_t longest_match = 10'000;

icu::StringPiece piece_of(std::string_view text) {
  if (text.size() > std::numeric_limits<std::int32_t>::max()) {
    throw DataError(fmt::format("a text of {} bytes, at most 2 GiB can be cut into pieces", text.size()));
  }
  return {text.data(), static_cast<std::int32_t>(text.size())};
}

icu::UnicodeString units_of(std::string_view text) {
  icu::UnicodeString units = icu::UnicodeString::fromUTF8(piece_of(text));
  if (units.isBogus()) throw std::bad_alloc();
  return units;
}

/// What at the start of `rest` means something else to ICU than to Oniguruma, for which the patterns are written; empty
/// when nothing does.
std::string_view ambiguous(std::string_view rest, bool in_set) {
  constexpr std::string_view groups[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
  constexpr std::string_view escapes = "sSpPdDrntux";
  const auto letter = [](char c) { return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'); };
  if (rest[0] == '\\') {
    return rest.size() > 1 && letter(rest[1]) && escapes.find(rest[1]) == escapes.npos ? rest.substr(0, 2) : "";
  }
  if (in_set) return rest.starts_with("--") ? rest.substr(0, 2) : "";
  if (rest[0] == '.' || rest[0] == '^' || rest[0] == '$') return rest.substr(0, 1);
  if (rest.starts_with("(?")) {
    return std::ranges::any_of(groups, [&](auto group) { return rest.starts_with(group); }) ? "" : rest.substr(0, 3);
  }
  const std::size_t brace = rest[0] == '{' ? rest.find('}') : rest.npos;
  return brace < rest.size() - 1 && rest[brace + 1] == '+' ? rest.substr(0, brace + 2) : "";
}

void require_unambiguous(std::string_view pattern, const std::string& name) {
  int sets = 0;
  for (std::string_view rest = pattern; !rest.empty();) {
    if (const std::string_view what = ambiguous(rest, sets > 0); !what.empty()) {
      throw FileError(fmt::format("{}: the pattern '{}' has '{}', which is not supported", name, printable(pattern),
                                  printable(what)));
    }
    std::size_t length = 1;
    if (rest[0] == '\\') {
      const bool property = rest.starts_with("\\p{") || rest.starts_with("\\P{");
      length = std::min(property ? rest.find('}') : 2, rest.size());
    } else if (rest[0] == '[') {
      ++sets;
    } else if (rest[0] == ']' && sets > 0) {
      --sets;
    }
    rest.remove_prefix(length);
  }
}

/// Bytes of UTF-8 that a unit of UTF-16 stands for; half of a pair for two.
std::size_t utf8_bytes(char16_t unit) {
  return unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xD800 && unit < 0xE000) ? 2 : 3;
}

}  // namespace

struct PieceSplitter::Rule {
  std::unique_ptr<icu::RegexPattern> pattern;
  bool keeps_rest;
};

std::string valid_utf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const std::size_t sound = find_invalid_utf8(text).value_or(text.size());
    valid += text.substr(0, sound);
    text.remove_prefix(sound);
    if (text.empty()) break;
    // What begins a character but has no end is one malformed sequence; so is any other byte.
    const std::string_view most = text.substr(0, std::min<std::size_t>(text.size(), 4));
    std::size_t length = 1;
    while (length < most.size() && icu::UnicodeString::fromUTF8(piece_of(most.substr(0, length + 1))).length() == 1) {
      ++length;
    }
    valid += "\xEF\xBF\xBD";
    text.remove_prefix(length);
  }
  return valid;
}

std::string composed(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* form = icu::Normalizer2::getNFCInstance(status);
  std::string result;
  if (U_SUCCESS(status)) {
    icu::StringByteSink<std::string> sink(&result);
    form->normalizeUTF8(0, piece_of(text), sink, nullptr, status);
  }
  if (U_FAILURE(status)) throw DataError(fmt::format("ICU cannot normalise the text: {}", u_errorName(status)));
  return result;
}

PieceSplitter::PieceSplitter(const std::vector<PieceRule>& rules, const std::string& name) {
  for (const PieceRule& rule : rules) {
    require_unambiguous(rule.pattern, name);
    UErrorCode status = U_ZERO_ERROR;
    UParseError place;
    std::unique_ptr<icu::RegexPattern> pattern(
        icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(piece_of(rule.pattern)), 0, place, status));
    if (U_FAILURE(status)) {
      throw FileError(
          fmt::format("{}: '{}' is no regular expression: {}", name, printable(rule.pattern), u_errorName(status)));
    }
    rules_.push_back(std::make_unique<Rule>(Rule{std::move(pattern), rule.keeps_rest}));
  }
}

PieceSplitter::~PieceSplitter() = default;
PieceSplitter::PieceSplitter(PieceSplitter&&) noexcept = default;

/// A matcher of each rule, made once a text: the pieces of one rule are what the next one cuts.
class PieceSplitter::Cut {
 public:
  Cut(const std::vector<std::unique_ptr<Rule>>& rules, const Take& take) : rules_(rules), take_(take) {
    for (const auto& rule : rules_) {
      UErrorCode status = U_ZERO_ERROR;
      matchers_.emplace_back(rule->pattern->matcher(status));
      if (U_SUCCESS(status)) matchers_.back()->setTimeLimit(longest_match, status);
      if (U_SUCCESS(status)) matchers_.back()->setStackLimit(0, status);  // a run of spaces may be as long as a text
      require(status);
    }
  }

  void split(std::string_view text, std::size_t rule) {
    if (text.empty()) return;
    if (rule == rules_.size()) return take_(text);
    const icu::UnicodeString units = units_of(text);
    icu::RegexMatcher& matcher = *matchers_[rule];
    matcher.reset(units);
    const bool keeps_rest = rules_[rule]->keeps_rest;
    std::int32_t unit = 0;
    std::size_t byte = 0;
    const auto part_to = [&](std::int32_t end) {
      const std::size_t begin = byte;
      for (; unit < end; ++unit) byte += utf8_bytes(units[unit]);
      return text.substr(begin, byte - begin);
    };
    UErrorCode status = U_ZERO_ERROR;
    while (matcher.find(status)) {
      const std::string_view rest = part_to(matcher.start(status)), match = part_to(matcher.end(status));
      if (keeps_rest) split(rest, rule + 1);
      split(match, rule + 1);
    }
    require(status);
    if (keeps_rest) split(part_to(units.length()), rule + 1);
  }

 private:
  static void require(UErrorCode status) {
    if (U_SUCCESS(status)) return;
    throw DataError(fmt::format("the tokenizer's pattern cannot be applied to the text: {}", u_errorName(status)));
  }

  const std::vector<std::unique_ptr<Rule>>& rules_;
  const Take& take_;
  std::vector<std::unique_ptr<icu::RegexMatcher>> matchers_;
};

void PieceSplitter::split(std::string_view text, const Take& take) const { Cut(rules_, take).split(text, 0); }

}  // namespace palimpsest
