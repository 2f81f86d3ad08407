// palimpsest tokenizer: trains SentencePiece models and shows what a tokenizer does.
#include "data/text/tokenizer.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "data/text/byte_pair_tokenizer.h"
#include "data/text/corpus.h"
#include "data/text/sentencepiece_tokenizer.h"
#include "launch/commands/command.h"
#include "launch/output/exit_codes.h"
#include "launch/training/run_log.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

struct Options {
  std::string corpus, output;
  std::string type = "unigram";
  TokenizerTraining training;
  bool force = false;

  std::string tokenizer;
  std::string text;
  bool has_text = false;
  bool special = false;
  std::vector<std::int32_t> tokens;
};

int train(Options options) {
  const fs::path corpus = options.corpus, output = options.output;
  if (!options.force && fs::exists(output)) {
    throw WriteError(fmt::format("{}: exists already; --force replaces it", output.string()));
  }
  // A tokenizer must not see the text that a model is measured on.
  const std::vector<std::string> splits = corpus_splits(corpus);
  const bool has_train = std::find(splits.begin(), splits.end(), "train") != splits.end();
  const fs::path folder = has_train ? corpus / "train" : corpus;
  std::vector<fs::path> files;
  for (const CorpusFile& file : list_corpus(folder).files) files.push_back(file.path);

  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  log.note(fmt::format("Training a {} model of {} pieces on {} files of {}", options.type, options.training.vocab_size,
                       files.size(), folder.string()));
  options.training.model = options.type == "bpe" ? TokenizerTraining::Model::bpe : TokenizerTraining::Model::unigram;
  const auto [model, problems] = train_sentencepiece(files, options.training);
  for (const CorpusProblem& problem : problems) log.warn(fmt::format("skipped {}: {}", problem.path, problem.reason));
  const SentencePieceTokenizer tokenizer(model, output.string());
  write_file_atomically(output, model);
  fmt::print("{}: {}, vocabulary of {}\n", output.string(), tokenizer.identity(), tokenizer.vocab_size());
  return ExitCode::ok;
}

int encode(const Options& options) {
  auto tokenizer = make_tokenizer(options.tokenizer);
  if (options.special) tokenizer = with_special_tokens(std::move(tokenizer));
  const std::string text = options.has_text ? options.text : read_input(std::cin, "standard input");
  fmt::print("{}\n", fmt::join(tokenizer->encode(text), " "));
  return ExitCode::ok;
}

int decode(const Options& options) {
  const auto tokenizer = make_tokenizer(options.tokenizer);
  TokenDecoder decoder(*tokenizer);
  for (const std::int32_t token : options.tokens) fmt::print("{}", decoder.append(token));
  if (options.tokens.empty()) {
    std::int64_t count = 0;
    for (std::int32_t token; std::cin >> token; ++count) fmt::print("{}", decoder.append(token));
    if (!std::cin.eof()) throw DataError(fmt::format("standard input: token {} is not a number", count));
  }
  fmt::print("{}\n", decoder.finish());
  return ExitCode::ok;
}

int info(const Options& options) {
  const auto tokenizer = make_tokenizer(options.tokenizer);
  fmt::print("identity    {}\nvocabulary  {}\nbegin       {}\nend         {}\nunknown     {}\n", tokenizer->identity(),
             tokenizer->vocab_size(), tokenizer->begin_id(), tokenizer->end_id(),
             tokenizer->unknown_id() < 0 ? "never needed" : std::to_string(tokenizer->unknown_id()));
  return ExitCode::ok;
}

}  // namespace

Command add_tokenizer_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("tokenizer", "Train SentencePiece models; encode and decode text");
  command->require_subcommand(1);
  command->footer(
      help_footer("palimpsest tokenizer train pg19/ pg19.model --vocab-size 32000 --threads 8\n"
                  "palimpsest tokenizer encode pg19.model \"Call me Ishmael.\"\n"
                  "palimpsest tokenizer encode bytes < book.txt | palimpsest tokenizer decode bytes\n"
                  "palimpsest tokenizer info pg19.model"));

  CLI::App* trains = command->add_subcommand(
      "train",
      "Train a SentencePiece model on a folder of *.txt files (of a corpus in PG19's layout, on train/ only).\n"
      "The model reproduces every text exactly: nothing is normalised, and bytes spell what has no piece.");
  trains->add_option("CORPUS", options->corpus, "The folder of texts")->required();
  trains->add_option("OUTPUT", options->output, "The model file")->required();
  trains->add_option("--type", options->type, "unigram (the default) or bpe")->check(CLI::IsMember({"unigram", "bpe"}));
  trains->add_option("--vocab-size", options->training.vocab_size, "Number of pieces (default 8000)");
  trains->add_option("--character-coverage", options->training.character_coverage,
                     "Share of the text's characters that get pieces of their own (default 0.9995)");
  trains
      ->add_option("--max-sentences", options->training.max_sentences,
                   "Lines to learn from, drawn at random (default 1000000; 0: all)")
      ->check(whole_number_from(0));
  trains->add_flag("--split-digits", options->training.split_digits,
                   "Every digit is a piece of its own, as tasks with numbers want it");
  trains->add_option("--threads", options->training.threads, "Threads (default 1)")->check(CLI::Range(1, 1024));
  trains->add_option("--seed", options->training.seed, "Of the draw (default 1)");
  trains->add_flag("--force", options->force, "Replace the model file when it exists");

  const char* tokenizer_help = "\"bytes\", a SentencePiece model file or a tokenizer.json";
  CLI::App* encodes = command->add_subcommand("encode", "Print the tokens of a text");
  encodes->add_option("TOKENIZER", options->tokenizer, tokenizer_help)->required();
  CLI::Option* text = encodes->add_option("TEXT", options->text, "The text (default: standard input)");
  encodes->add_flag("--special-tokens", options->special, "Text that spells a special token becomes it");
  CLI::App* decodes = command->add_subcommand("decode", "Print the text of tokens");
  decodes->add_option("TOKENIZER", options->tokenizer, tokenizer_help)->required();
  decodes->add_option("TOKENS", options->tokens, "The tokens (default: standard input)");
  CLI::App* informs = command->add_subcommand("info", "Print a tokenizer's identity, vocabulary and special tokens");
  informs->add_option("TOKENIZER", options->tokenizer, tokenizer_help)->required();

  return {command, [=](Communicator& communicator) {
            if (communicator.size() > 1) {
              throw ConfigError(fmt::format("tokenizer runs as one process, found {}", communicator.description()));
            }
            options->has_text = text->count() > 0;
            if (trains->parsed()) return train(*options);
            if (encodes->parsed()) return encode(*options);
            return decodes->parsed() ? decode(*options) : info(*options);
          }};
}

}  // namespace palimpsest
