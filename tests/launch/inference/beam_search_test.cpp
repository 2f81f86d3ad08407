// Beam search: against trying every text, against the likeliest token each time, and the sums of what it has found
// against one pass over it.
#include "launch/inference/beam_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>

#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/inference/generator.h"
#include "tests/launch/tiny_model.h"

namespace palimpsest {
namespace {

/// Three letters, the begin token and the end token.
class LetterTokenizer final : public Tokenizer {
 public:
  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> tokens;
    for (const char letter : text) tokens.push_back(letter - 'a');
    return tokens;
  }
  std::string decode(std::span<const std::int32_t> tokens) const override {
    std::string text;
    bool at_start = true;
    for (const std::int32_t token : tokens) text += token_bytes(token, at_start);
    return text;
  }
  std::int64_t vocab_size() const override { return 5; }
  std::int32_t begin_id() const override { return 3; }
  std::int32_t end_id() const override { return 4; }
  std::string identity() const override { return "letters"; }
  std::string token_bytes(std::int32_t token, bool& at_start) const override {
    at_start = false;
    return token < 3 ? std::string(1, static_cast<char>('a' + token)) : "";
  }
};

class BeamSearchTest : public testing::Test {
 protected:
  using Tokens = std::vector<std::int32_t>;

  BeamSearchTest() {
    ModelConfig config = tiny_config();
    config.vocab_size = 5;
    config.initializer_range = 1;  // so that one token differs from another
    model_ = std::make_unique<LanguageModel>(pool_, config.resolved(), DataType::float32);
    model_->initialize(11);
  }

  BeamText search(const std::string& prompt, const GenerationOptions& options, const GoesOn& goes_on = {}) {
    DecodeState decoder(*model_, pool_);
    Tokens tokens = tokenizer_.encode(prompt);
    DrawnText drawn(tokenizer_);
    drawn.append(tokens);
    drawn.stop_at(options.stop);
    tokens.insert(tokens.begin(), tokenizer_.begin_id());
    const Tensor logits = decoder.advance(tokens);
    return search_beams(decoder, logits.values<float>(), drawn, tokenizer_, options, goes_on);
  }

  /// ln p of every token after the prompt and these tokens, read anew.
  const std::array<double, 5>& successors(const std::string& prompt, const Tokens& after) {
    const auto [entry, is_new] = known_.try_emplace({prompt, after});
    if (!is_new) return entry->second;
    Tokens tokens = tokenizer_.encode(prompt);
    tokens.insert(tokens.begin(), tokenizer_.begin_id());
    tokens.insert(tokens.end(), after.begin(), after.end());
    const Tensor logits = DecodeState(*model_, pool_).advance(tokens);
    for (std::int32_t token = 0; token < 5; ++token) {
      entry->second.at(static_cast<std::size_t>(token)) = log_probability(logits.values<float>(), token);
    }
    return entry->second;
  }

  void make_the_end_likely() {
    Tensor head = model_->parameters().find("lm_head.weight").master;
    Tensor end = head.rows(4, 5);
    for (float& weight : end.values<float>()) weight *= 2;
  }

  struct Best {
    Tokens tokens;
    double score = -1e9, log_probability = 0;
  };
  /// The best of all texts that begin with these tokens.
  void try_all(const std::string& prompt, const GenerationOptions& options, const Tokens& tokens, double sum,
               Best& best) {
    const auto length = static_cast<std::int64_t>(tokens.size());
    const auto offer = [&](double total, std::int64_t counted) {
      const double score = total / std::pow(static_cast<double>(counted), options.length_penalty);
      if (score > best.score) best = {tokens, score, total};
    };
    if (length == options.max_tokens) return offer(sum, length);
    const std::array<double, 5> next = successors(prompt, tokens);
    if (length >= options.sampling.min_tokens) offer(sum + next[4], length + 1);
    for (std::int32_t token = 0; token < 4; ++token) {
      Tokens longer = tokens;
      longer.push_back(token);
      if (repeats(longer, options.sampling.no_repeat_ngram)) continue;
      try_all(prompt, options, longer, sum + next.at(static_cast<std::size_t>(token)), best);
    }
  }
  /// Beam search as it is defined, every text read anew, and never ended early. `gives_up`: a text that
  /// ended gives its place up.
  Best plain_search(const std::string& prompt, const GenerationOptions& options, bool gives_up) {
    std::vector<std::pair<double, Tokens>> open = {{0, {}}};
    auto places = static_cast<std::size_t>(options.beams);
    Best best;
    for (std::int64_t length = 1; length <= options.max_tokens; ++length) {
      std::vector<std::pair<double, Tokens>> all, next;
      for (const auto& [sum, tokens] : open) {
        for (std::int32_t token = 0; token < 5; ++token) {
          all.emplace_back(sum + successors(prompt, tokens).at(static_cast<std::size_t>(token)), tokens);
          all.back().second.push_back(token);
        }
      }
      std::ranges::sort(all, std::ranges::greater());
      if (all.size() > places) all.resize(places);
      for (auto& [sum, tokens] : all) {
        const bool ends = tokens.back() == 4;
        if (!ends && length < options.max_tokens) {
          next.emplace_back(sum, tokens);
          continue;
        }
        const double score = sum / std::pow(static_cast<double>(length), options.length_penalty);
        if (ends) {
          tokens.pop_back();
          if (gives_up) --places;
        }
        if (score > best.score) best = {tokens, score, sum};
      }
      open = std::move(next);
    }
    return best;
  }
  static bool repeats(const Tokens& tokens, std::int64_t ngram) {
    if (ngram == 0) return false;
    std::map<Tokens, int> counts;
    for (auto at = tokens.begin(); tokens.end() - at >= ngram; ++at) {
      if (++counts[{at, at + ngram}] > 1) return true;
    }
    return false;
  }

  MemoryPool pool_;
  LetterTokenizer tokenizer_;
  std::unique_ptr<LanguageModel> model_;
  std::map<std::pair<std::string, Tokens>, std::array<double, 5>> known_;
};

TEST_F(BeamSearchTest, EnoughBeamsFindTheBestOfAllTexts) {
  std::map<std::size_t, int> lengths;
  for (const std::string prompt : {"cc", "abcabc"}) {  // the first segment of eight tokens ends after two more
    for (const double penalty : {0.0, 1.5}) {
      for (const std::int64_t ngram : {0, 1, 2}) {
        const GenerationOptions options{.sampling = {.no_repeat_ngram = ngram, .min_tokens = ngram == 1 ? 2 : 0},
                                        .max_tokens = 4,
                                        .beams = 400,
                                        .length_penalty = penalty};
        Best best;
        try_all(prompt, options, {}, 0, best);
        const BeamText found = search(prompt, options);
        EXPECT_EQ(found.tokens, best.tokens) << prompt << ", " << penalty << ", " << ngram;
        EXPECT_NEAR(found.score, best.score, 1e-4);
        EXPECT_NEAR(found.log_probability, best.log_probability, 1e-4);
        EXPECT_EQ(found.finish, found.drawn.ended() ? Finish::end : Finish::length);
        EXPECT_EQ(found.text, tokenizer_.decode(found.tokens));
        ++lengths[found.tokens.size()];
      }
    }
  }
  EXPECT_GT(lengths.size(), 1u) << "texts of one length alone would not tell length penalties apart";
}

TEST_F(BeamSearchTest, AFewBeamsFindWhatTheyAreDefinedToFind) {
  make_the_end_likely();
  int others = 0;
  for (const std::string prompt : {"a", "bc", "cab", "abcabc", "aa", "cb", "bbb", "acbacba"}) {
    for (const std::int64_t beams : {2, 3, 5}) {
      for (const double penalty : {0.0, 1.0, 2.0}) {
        const GenerationOptions options{.sampling = {}, .max_tokens = 9, .beams = beams, .length_penalty = penalty};
        const Best best = plain_search(prompt, options, true);
        const BeamText found = search(prompt, options);
        EXPECT_EQ(found.tokens, best.tokens) << prompt << ", " << beams << " beams, " << penalty;
        EXPECT_NEAR(found.score, best.score, 1e-4);
        others += plain_search(prompt, options, false).tokens != best.tokens;
      }
    }
  }
  EXPECT_GT(others, 0) << "places that are not given up would not be noticed";
}

TEST_F(BeamSearchTest, OneBeamTakesTheLikeliestTokenEachTime) {
  for (const std::string prompt : {"", "abcab"}) {
    for (const SamplingOptions& sampling :
         {SamplingOptions{.temperature = 0}, SamplingOptions{.temperature = 0, .repetition_penalty = 1.7},
          SamplingOptions{.temperature = 0, .no_repeat_ngram = 3, .min_tokens = 20}}) {
      const GenerationOptions options{.sampling = sampling, .max_tokens = 25};
      Generator generator(*model_, tokenizer_, pool_);
      generator.append(prompt);
      std::string text;
      const GenerationResult greedy = generator.generate(options, [&](std::string_view piece) { text += piece; });
      const BeamText found = search(prompt, options);
      EXPECT_EQ(found.text, text);
      EXPECT_EQ(found.finish, greedy.finish);
      EXPECT_EQ(std::ssize(found.tokens), greedy.tokens);
      EXPECT_EQ(found.drawn.state().draws, generator.state().drawn.draws);
    }
  }
}

TEST_F(BeamSearchTest, WhatItSaysOfATextIsWhatTheModelSays) {
  double narrow = -1e9;
  for (const std::int64_t beams : {2, 3, 8}) {  // over the ends of segments of eight tokens
    const GenerationOptions options{.sampling = {.min_tokens = 20}, .max_tokens = 20, .beams = beams};
    const BeamText found = search("abc", options);
    ASSERT_EQ(found.tokens.size(), 20u);
    double sum = 0;
    Tokens before;
    for (const std::int32_t token : found.tokens) {
      sum += successors("abc", before).at(static_cast<std::size_t>(token));
      before.push_back(token);
    }
    EXPECT_NEAR(found.log_probability, sum, 1e-3) << beams;
    EXPECT_NEAR(found.score, sum / 20, 1e-4);
    if (beams == 2) narrow = found.score;
    if (beams == 8) {
      EXPECT_GE(found.score, narrow);
    }
  }
}

TEST_F(BeamSearchTest, StopStringsAndInterruptionsEndIt) {
  const GenerationOptions options{.sampling = {.min_tokens = 12}, .max_tokens = 12, .beams = 4};
  const std::string text = search("ab", options).text;
  GenerationOptions stopping = options;
  stopping.stop = {"a", "b", "c"};
  const BeamText stopped = search("ab", stopping);
  EXPECT_EQ(stopped.finish, Finish::stop);
  EXPECT_EQ(stopped.text.find_first_of("abc"), std::string::npos);
  int asked = 0;
  const BeamText interrupted = search("ab", options, [&] { return ++asked <= 5; });
  EXPECT_EQ(interrupted.finish, Finish::interrupted);
  EXPECT_EQ(interrupted.tokens.size(), 5u);
}

TEST_F(BeamSearchTest, AnInterruptedSearchIsNeverTakenForAWholeOne) {
  make_the_end_likely();
  int ended = 0;
  for (const std::string prompt : {"a", "bc", "cab", "aa", "cb", "acbacba"}) {
    for (int tokens = 0; tokens < 9; ++tokens) {
      int asked = 0;
      const BeamText found =
          search(prompt, {.sampling = {}, .max_tokens = 9, .beams = 3}, [&] { return ++asked <= tokens; });
      EXPECT_EQ(found.finish == Finish::interrupted, asked > tokens) << prompt << " after " << tokens << " tokens";
      ended += asked > tokens && found.drawn.ended();
    }
  }
  EXPECT_GT(ended, 0) << "a text that had ended when the search was cut off is what this is about";
}

TEST_F(BeamSearchTest, AGeneratorGoesOnFromWhatItFound) {
  Generator searching(*model_, tokenizer_, pool_), told = searching;
  searching.append("abca");
  told.append("abca");
  std::string text;
  const GenerationOptions options{.sampling = {.min_tokens = 10}, .max_tokens = 10, .beams = 3};
  const GenerationResult result = searching.generate(options, [&](std::string_view piece) { text += piece; });
  EXPECT_EQ(result.tokens, 10);
  told.append_tokens(searching.state().unread);
  EXPECT_EQ(tokenizer_.decode(searching.state().unread), text);
  const std::span<const float> expected = told.logits(), found = searching.logits();
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-4);
}

TEST_F(BeamSearchTest, WhatDrawsOrIsNoSearchIsRefused) {
  for (const SamplingOptions& sampling : {SamplingOptions{.temperature = 0.5}, SamplingOptions{.top_k = 5},
                                          SamplingOptions{.top_p = 0.9}, SamplingOptions{.min_p = 0.1}}) {
    EXPECT_THROW(check(GenerationOptions{.sampling = sampling, .beams = 2}), ConfigError);
    EXPECT_NO_THROW(check(GenerationOptions{.sampling = sampling}));
  }
  EXPECT_NO_THROW(check(GenerationOptions{.sampling = {.temperature = 0}, .beams = 2, .length_penalty = 5}));
  EXPECT_THROW(check(GenerationOptions{.sampling = {}, .length_penalty = 5}), ConfigError);
  EXPECT_THROW(check(GenerationOptions{.sampling = {}, .beams = 0}), ConfigError);
  EXPECT_THROW(check(GenerationOptions{.sampling = {}, .length_penalty = -1}), ConfigError);
  EXPECT_THROW(check(GenerationOptions{.sampling = {.no_repeat_ngram = -1}}), ConfigError);
  EXPECT_THROW(check(GenerationOptions{.sampling = {.min_tokens = -1}}), ConfigError);
}

}  // namespace
}  // namespace palimpsest
