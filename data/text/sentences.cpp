#include "data/text/sentences.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>

#include <fmt/format.h>
#include <unicode/brkiter.h>
#include <unicode/utext.h>

#include "core/error.h"
#include "core/white_space.h"

namespace palimpsest {

namespace {

/// Line ends within a paragraph are spaces, byte for byte: what is wrapped is not over.
std::string unwrapped(std::string_view text) {
  std::string flat(text);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n' && text[i] != '\r') continue;
    const std::size_t next = text[i] == '\n' ? text.find_first_not_of(" \t\r", i + 1) : std::string_view::npos;
    const bool empty_line = next != std::string_view::npos && text[next] == '\n';
    if (!empty_line) flat[i] = ' ';
  }
  return flat;
}

/// Of a text that begins and ends with something else.
std::string with_single_spaces(std::string_view text) {
  std::string single;
  for (const char character : text) {
    if (white_space.find(character) == std::string_view::npos) {
      single += character;
    } else if (single.back() != ' ') {
      single += ' ';
    }
  }
  return single;
}

}  // namespace

std::vector<SentencePlace> sentence_places(std::string_view text) {
  const std::string flat = unwrapped(text);
  if (flat.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw DataError(fmt::format("a text of {} bytes is too long to be cut into sentences", flat.size()));
  }
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> breaks(
      icu::BreakIterator::createSentenceInstance(icu::Locale::getRoot(), status));
  const std::unique_ptr<UText, decltype(&utext_close)> opened(
      utext_openUTF8(nullptr, flat.data(), static_cast<std::int64_t>(flat.size()), &status), &utext_close);
  if (U_SUCCESS(status)) breaks->setText(opened.get(), status);
  if (U_FAILURE(status)) throw DataError(fmt::format("cutting a text into sentences failed: {}", u_errorName(status)));
  std::vector<SentencePlace> places;
  std::int32_t from = 0;
  for (std::int32_t to = breaks->next(); to != icu::BreakIterator::DONE; from = to, to = breaks->next()) {
    const std::string_view part =
        std::string_view(flat).substr(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from));
    const std::size_t first = part.find_first_not_of(white_space);
    if (first == std::string_view::npos) continue;
    const auto begin = static_cast<std::size_t>(from);
    places.push_back({begin + first, begin + part.find_last_not_of(white_space) + 1});
  }
  return places;
}

std::vector<std::string> sentences_of(std::string_view text) {
  std::vector<std::string> sentences;
  for (const SentencePlace& place : sentence_places(text)) {
    sentences.push_back(with_single_spaces(text.substr(place.begin, place.end - place.begin)));
  }
  return sentences;
}

std::vector<std::string> parts_of(std::string_view sentence, std::size_t most_bytes) {
  std::vector<std::string> parts;
  while (sentence.size() > most_bytes) {
    const std::size_t count = (sentence.size() + most_bytes - 1) / most_bytes;
    const std::size_t most = std::max((sentence.size() + count - 1) / count, std::size_t{4});
    const std::size_t space = sentence.substr(0, most + 1).rfind(' ');
    const bool between_words = space != std::string_view::npos;
    std::size_t end = between_words ? space : most;
    while (!between_words && (static_cast<unsigned char>(sentence[end]) & 0xC0U) == 0x80U) --end;
    parts.emplace_back(sentence.substr(0, end));
    sentence.remove_prefix(between_words ? end + 1 : end);
  }
  parts.emplace_back(sentence);
  return parts;
}

}  // namespace palimpsest
