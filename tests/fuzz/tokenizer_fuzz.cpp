// SentencePiece models: loading one, and what every command does with it.
#include <sentencepiece_trainer.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "data/text/sentencepiece_tokenizer.h"
#include "tests/fuzz/target.h"
#include "tests/temporary_directory.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  const TemporaryDirectory directory;
  {
    std::ofstream text(directory / "text.txt");
    for (int line = 0; line < 200; ++line) text << "the memory of line " << line << " is written over, é and again\n";
  }
  TokenizerTraining training;
  training.vocab_size = 300;
  std::vector<std::string> models = {train_sentencepiece({directory / "text.txt"}, training).model};
  training.model = TokenizerTraining::Model::bpe;
  models.push_back(train_sentencepiece({directory / "text.txt"}, training).model);
  // A small one as other people train them, with tables for normalisation.
  sentencepiece::SentencePieceTrainer::Train({{"input", (directory / "text.txt").string()},
                                              {"model_prefix", (directory / "other").string()},
                                              {"vocab_size", "40"},
                                              {"hard_vocab_limit", "false"},
                                              {"minloglevel", "2"}})
      .IgnoreError();
  std::ifstream other(directory / "other.model", std::ios::binary);
  models.emplace_back(std::istreambuf_iterator<char>(other), std::istreambuf_iterator<char>());
  return models;
}

void run(std::string_view input) {
  const SentencePieceTokenizer tokenizer{std::string(input), "fuzz.model"};
  const std::vector<std::int32_t> tokens = tokenizer.encode("the memory of  é ﬁ\n\t written 𝄞");
  tokenizer.decode(tokens);
  TokenDecoder decoder(tokenizer);
  for (const std::int32_t token : tokens) decoder.append(token);
  for (std::int32_t token = 0; token < tokenizer.vocab_size() && token < 1000; ++token) decoder.append(token);
  decoder.finish();
}

}  // namespace palimpsest::fuzz
