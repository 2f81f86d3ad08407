// Passkey prompts (arXiv 2404.07143, section 4.2): keys hidden in filler, and a question about one of them, or about
// all to learn faster. A prompt is kept as what stands where, so one of any length takes no more memory than a short
// one. Training and evaluation draw their prompts here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/stream/draws.h"
#include "data/text/tokenizer.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

struct PasskeyTask {
  std::int64_t digits = 4;
  std::int64_t keys = 1;     // hidden in a prompt; with several each belongs to a name
  std::int64_t updates = 0;  // so often is each key replaced by another one later on; the last one counts
};

/// Changes when the same seed makes other prompts.
inline int prompts_version(const PasskeyTask& task) { return task.keys > 1 ? 3 : 2; }

/// The task's sentences in the tokens of one tokenizer, and its filler: the paper's sentences, or a token file.
class PasskeyLanguage {
 public:
  struct Question {
    std::vector<std::int32_t> tokens;  // the answer's digits at the end
    std::int64_t answer = 0;           // where they begin
  };

  /// `filler` may be null. Throws ConfigError on impossible numbers, on a tokenizer that does not know the sentences'
  /// words, and on a filler of another tokenizer.
  PasskeyLanguage(std::shared_ptr<const Tokenizer> tokenizer, const PasskeyTask& task,
                  std::shared_ptr<const TokenFile> filler);

  const PasskeyTask& task() const { return task_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const TokenFile* text() const { return text_.get(); }

  /// Begin token included.
  const std::vector<std::int32_t>& introduction() const { return introduction_; }
  std::vector<std::int32_t> statement(std::int64_t name, const std::string& digits, bool replaces) const;
  Question question(std::int64_t name, const std::string& digits) const;
  /// After so many tokens the filler repeats itself; 1 for a file.
  std::int64_t filler_period() const { return text_ ? 1 : static_cast<std::int64_t>(sentences_.size()); }
  /// Tokens [begin, begin + target.size()) of endless filler: the sentences over and over, or the file from `offset`
  /// on, over and over.
  void filler(std::int64_t offset, std::int64_t begin, std::span<std::int32_t> target) const;

 private:
  std::vector<std::int32_t> after_text(const std::string& text) const;
  /// Nothing where there is one key.
  std::string with_name(std::string_view before, std::int64_t name, std::string_view after) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  PasskeyTask task_;
  std::shared_ptr<const TokenFile> text_;
  std::vector<std::int32_t> introduction_, sentences_;
};

class PasskeyPrompt {
 public:
  struct Statement {
    std::int64_t begin = 0;
    std::vector<std::int32_t> tokens;
    std::string digits;
    std::int64_t key = 0;  // counted from 0
    bool replaces = false;

    std::int64_t end() const { return begin + static_cast<std::int64_t>(tokens.size()); }
  };

  /// How training prompts are drawn beside the task.
  struct Spread {
    std::int64_t segment_length = 0;
    std::int64_t keys = 0;      // of the task's, hidden here; 0: all
    double across_borders = 0;  // share of statements that are moved onto a segment's border, where they fit
    double question_anywhere =
        0;                       // share of prompts whose questions stand anywhere in the last segment, not at its end
    std::int64_t questions = 1;  // asked one after the other
  };

  /// Keys anywhere. Of the questions after the first, each is about any key, and those that the last segment does not
  /// hold are left out. Throws ConfigError when `length` tokens cannot hold the first.
  static PasskeyPrompt for_training(std::shared_ptr<const PasskeyLanguage> language, std::int64_t length,
                                    const Spread& spread, Draws& draws);
  /// The key that is asked for lies at `depth` (0: near the start, 1: near the question), give or take 2,000 tokens, or
  /// an eighth of the length if that is less, behind the whole sentences of the filler. The answer is the end of the
  /// prompt. `key`: the digits asked for, as many as the task says, in a text that begins at its beginning; drawn if
  /// empty, as is where the text begins.
  static PasskeyPrompt for_evaluation(std::shared_ptr<const PasskeyLanguage> language, std::int64_t length,
                                      double depth, Draws& draws, const std::string& key = {});

  std::int64_t length() const { return length_; }
  const std::vector<Statement>& statements() const { return statements_; }  // by position
  std::int64_t asked_key() const { return asked_; }
  /// Of the first question.
  std::int64_t question_begin() const { return question_begin_; }
  /// Tokens [answer_begin, answer_end) are the digits first asked for.
  std::int64_t answer_begin() const { return question_begin_ + questions_.front().answer; }
  std::int64_t answer_end() const { return question_begin_ + size_of(questions_.front()); }
  /// Behind the last answer; end tokens follow.
  std::int64_t questions_end() const;
  /// For each question, in order, the tokens [begin, end) of its answer.
  std::vector<std::pair<std::int64_t, std::int64_t>> answers() const;
  /// So many tokens are the same in every prompt of this language for which this says as many or more.
  std::int64_t shared_beginning() const;
  /// Whether nothing but filler stands in tokens [begin, end).
  bool is_filler(std::int64_t begin, std::int64_t end) const;
  /// Tokens [begin, begin + target.size()), all of them below `length`.
  void read(std::int64_t begin, std::span<std::int32_t> target) const;

 private:
  PasskeyPrompt(std::shared_ptr<const PasskeyLanguage> language, std::int64_t length, std::int64_t keys,
                std::int64_t questions, Draws& draws, const std::string& asked_for);
  /// Tokens of the introduction and all statements.
  std::int64_t spoken() const;
  static std::int64_t size_of(const PasskeyLanguage::Question& question) {
    return static_cast<std::int64_t>(question.tokens.size());
  }
  /// Puts the questions at `begin` and returns how many tokens of filler are left to spread the statements over.
  std::int64_t put_questions(std::int64_t begin);
  /// Orders the statements by how many tokens of filler come before each.
  void put_statements(std::vector<double> filler_before);
  void move_onto_borders(std::int64_t segment_length, double share, Draws& draws);

  std::shared_ptr<const PasskeyLanguage> language_;
  std::int64_t length_ = 0, asked_ = 0, question_begin_ = 0, offset_ = 0;
  std::vector<PasskeyLanguage::Question> questions_;  // one after the other; the first about the key `asked_`
  std::vector<Statement> statements_;
};

}  // namespace palimpsest
