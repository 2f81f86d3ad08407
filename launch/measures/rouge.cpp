#include "launch/measures/rouge.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

/// Numbers in place of words: equal words have equal numbers.
using Words = std::vector<std::uint32_t>;
using Dictionary = std::unordered_map<std::string, std::uint32_t>;

Words numbered(const std::vector<std::string>& words, Dictionary& dictionary) {
  Words numbers;
  for (const std::string& word : words) {
    numbers.push_back(dictionary.emplace(word, static_cast<std::uint32_t>(dictionary.size())).first->second);
  }
  return numbers;
}

RougeScore score_of(std::size_t common, std::size_t reference, std::size_t candidate) {
  RougeScore score;
  if (reference > 0) score.recall = static_cast<double>(common) / static_cast<double>(reference);
  if (candidate > 0) score.precision = static_cast<double>(common) / static_cast<double>(candidate);
  const double sum = score.recall + score.precision;
  if (sum > 0) score.f1 = 2 * score.recall * score.precision / sum;
  return score;
}

/// Each run of `length` (1 or 2) words, sorted.
std::vector<std::uint64_t> sorted_runs(const Words& words, std::size_t length) {
  std::vector<std::uint64_t> runs;
  for (std::size_t i = 0; i + length <= words.size(); ++i) {
    runs.push_back(length == 1 ? words[i] : std::uint64_t{words[i]} << 32 | words[i + 1]);
  }
  std::ranges::sort(runs);
  return runs;
}

RougeScore score_runs(const Words& reference, const Words& candidate, std::size_t length) {
  const std::vector<std::uint64_t> ours = sorted_runs(reference, length), theirs = sorted_runs(candidate, length);
  std::vector<std::uint64_t> common;
  std::ranges::set_intersection(ours, theirs, std::back_inserter(common));
  return score_of(common.size(), ours.size(), theirs.size());
}

/// `row`, with a 0 in front the lengths for the reference's words so far, becomes that with one more word; `left` is
/// told where the length without the candidate's word is larger than that without `word`.
template <class Left>
void next_row(std::uint32_t word, const Words& candidate, std::vector<std::uint32_t>& row, const Left& left) {
  std::uint32_t diagonal = 0;
  for (std::size_t j = 0; j < candidate.size(); ++j) {
    const std::uint32_t above = row[j + 1];
    if (word == candidate[j]) {
      row[j + 1] = diagonal + 1;
    } else if (row[j] > above) {
      row[j + 1] = row[j];
      left(j);
    }
    diagonal = above;
  }
}

std::size_t common_length(const Words& reference, const Words& candidate) {
  std::vector<std::uint32_t> row(candidate.size() + 1, 0);
  for (const std::uint32_t word : reference) next_row(word, candidate, row, [](std::size_t) {});
  return row.back();
}

/// Marks the places of one longest common subsequence in `reference`: of several, the one found from the end that gives
/// up a word of the reference sooner than one of the candidate, as rouge_score has it.
void mark_common(const Words& reference, const Words& candidate, std::vector<bool>& marked) {
  constexpr std::uint64_t most_cells = std::uint64_t{1} << 35;
  if (!candidate.empty() && reference.size() > most_cells / candidate.size()) {
    throw DataError(fmt::format("sentences of {} and {} words are too long for ROUGE-Lsum: expected a sentence a line",
                                reference.size(), candidate.size()));
  }
  std::vector<bool> goes_left(reference.size() * candidate.size());
  std::vector<std::uint32_t> row(candidate.size() + 1, 0);
  for (std::size_t i = 0; i < reference.size(); ++i) {
    next_row(reference[i], candidate, row, [&](std::size_t j) { goes_left[i * candidate.size() + j] = true; });
  }
  for (std::size_t i = reference.size(), j = candidate.size(); i > 0 && j > 0;) {
    if (reference[i - 1] == candidate[j - 1]) {
      marked[--i] = true;
      --j;
    } else if (goes_left[(i - 1) * candidate.size() + j - 1]) {
      --j;
    } else {
      --i;
    }
  }
}

RougeScore score_sentences(const std::vector<Words>& reference, const std::vector<Words>& candidate,
                           std::size_t dictionary) {
  std::vector<std::size_t> ours(dictionary, 0), theirs(dictionary, 0);
  std::size_t reference_words = 0, candidate_words = 0, common = 0;
  for (const Words& sentence : reference) {
    reference_words += sentence.size();
    for (const std::uint32_t word : sentence) ++ours[word];
  }
  for (const Words& sentence : candidate) {
    candidate_words += sentence.size();
    for (const std::uint32_t word : sentence) ++theirs[word];
  }
  for (const Words& sentence : reference) {
    std::vector<bool> marked(sentence.size());
    for (const Words& other : candidate) mark_common(sentence, other, marked);
    for (std::size_t i = 0; i < sentence.size(); ++i) {
      const std::uint32_t word = sentence[i];
      if (!marked[i] || ours[word] == 0 || theirs[word] == 0) continue;
      --ours[word];
      --theirs[word];
      ++common;
    }
  }
  return score_of(common, reference_words, candidate_words);
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    lines.push_back(line);
  }
  return lines;
}

}  // namespace

std::vector<std::string> rouge_words(std::string_view text) {
  // The two characters outside ASCII whose lower case has a letter of ASCII: the Kelvin sign, and I with a dot above.
  constexpr std::string_view kelvin_sign = "\u212A", dotted_i = "\u0130";
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::exchange(word, {}));
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      word += c;
    } else if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c - 'A' + 'a');
    } else if (text.substr(i).starts_with(kelvin_sign)) {
      word += 'k';
      i += kelvin_sign.size() - 1;
    } else if (text.substr(i).starts_with(dotted_i)) {
      word += 'i';
      end_word();
      i += dotted_i.size() - 1;
    } else {
      end_word();
    }
  }
  end_word();
  return words;
}

RougeScorer::RougeScorer(bool stem) {
  if (stem) stemmer_.emplace();
}

std::vector<std::string> RougeScorer::words(std::string_view text) const {
  std::vector<std::string> words = rouge_words(text);
  if (!stemmer_) return words;
  for (std::string& word : words) {
    if (word.size() > 3) word = stemmer_->stem(word);
  }
  return words;
}

RougeScores RougeScorer::score(std::string_view reference, std::string_view candidate) const {
  Dictionary dictionary;
  Words ours, theirs;
  std::vector<Words> our_sentences, their_sentences;
  // No word goes past the end of a line.
  const auto read = [&](std::string_view text, Words& all, std::vector<Words>& sentences) {
    for (const std::string_view line : lines_of(text)) {
      sentences.push_back(numbered(words(line), dictionary));
      all.insert(all.end(), sentences.back().begin(), sentences.back().end());
    }
  };
  read(reference, ours, our_sentences);
  read(candidate, theirs, their_sentences);
  return {score_runs(ours, theirs, 1), score_runs(ours, theirs, 2),
          score_of(common_length(ours, theirs), ours.size(), theirs.size()),
          score_sentences(our_sentences, their_sentences, dictionary.size())};
}

RougeScores RougeScorer::score(std::span<const std::string> references, std::string_view candidate) const {
  RougeScores best;
  for (std::size_t i = 0; i < references.size(); ++i) {
    const RougeScores scores = score(references[i], candidate);
    for (std::size_t measure = 0; measure < scores.size(); ++measure) {
      if (i == 0 || scores[measure].f1 > best[measure].f1) best[measure] = scores[measure];
    }
  }
  return best;
}

}  // namespace palimpsest
