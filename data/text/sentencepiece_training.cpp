// Training SentencePiece models on a corpus, line by line.
#include <fmt/format.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "data/text/corpus.h"
#include "data/text/sentencepiece_tokenizer.h"

namespace palimpsest {

namespace {

// The trainer passes longer lines over; they are handed to it in pieces.
constexpr std::size_t max_line_bytes = 4096;

/// The lines of the files, one file in memory at a time.
class CorpusLines final : public sentencepiece::SentenceIterator {
 public:
  explicit CorpusLines(const std::vector<std::filesystem::path>& files) : files_(files) { Next(); }

  bool done() const override { return done_; }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

  std::vector<CorpusProblem> take_problems() { return std::move(problems_); }

  void Next() override {
    do {
      while (begin_ >= text_.size()) {
        if (next_file_ == files_.size()) {
          done_ = true;
          return;
        }
        auto result = read_corpus_file(files_[next_file_++]);
        auto* document = std::get_if<CorpusDocument>(&result);
        text_ = document != nullptr ? std::move(document->text) : std::string();
        if (document == nullptr) problems_.push_back(std::get<CorpusProblem>(std::move(result)));
        begin_ = 0;
      }
      take_line();
    } while (line_.empty());
  }

 private:
  static bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

  void take_line() {
    std::size_t end = text_.find('\n', begin_);
    if (end == std::string::npos) end = text_.size();
    std::size_t next = end + 1;
    if (end - begin_ > max_line_bytes) {
      end = begin_ + max_line_bytes;
      while (is_continuation(text_[end])) --end;
      next = end;
    }
    line_ = text_.substr(begin_, end - begin_);
    begin_ = next;
  }

  const std::vector<std::filesystem::path>& files_;
  std::size_t next_file_ = 0;
  std::string text_, line_;
  std::size_t begin_ = 0;
  bool done_ = false;
  std::vector<CorpusProblem> problems_;
};

}  // namespace

TrainedTokenizer train_sentencepiece(const std::vector<std::filesystem::path>& files,
                                     const TokenizerTraining& training) {
  // 256 bytes and the three tokens of no text.
  if (training.vocab_size <= 259) {
    throw ConfigError(fmt::format("a vocabulary of {} is asked for, expected more than 259", training.vocab_size));
  }
  if (!(training.character_coverage > 0 && training.character_coverage <= 1)) {
    throw ConfigError(fmt::format("a character coverage of {} is asked for, expected more than 0, at most 1",
                                  training.character_coverage));
  }
  CorpusLines lines(files);
  if (lines.done()) throw DataError(fmt::format("none of {} files has text to learn a tokenizer from", files.size()));
  const std::unordered_map<std::string, std::string> arguments = {
      {"model_type", training.model == TokenizerTraining::Model::bpe ? "bpe" : "unigram"},
      {"vocab_size", std::to_string(training.vocab_size)},
      {"character_coverage", fmt::format("{}", training.character_coverage)},
      {"input_sentence_size", std::to_string(training.max_sentences)},
      {"shuffle_input_sentence", "true"},
      {"max_sentence_length", std::to_string(max_line_bytes)},
      {"num_threads", std::to_string(training.threads)},
      {"split_digits", training.split_digits ? "true" : "false"},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "-1"},
      {"minloglevel", "2"},
  };
  sentencepiece::SetRandomGeneratorSeed(training.seed);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &lines, &model);
  if (!status.ok()) throw ConfigError(fmt::format("SentencePiece cannot train such a model: {}", status.ToString()));
  return {std::move(model), lines.take_problems()};
}

}  // namespace palimpsest
