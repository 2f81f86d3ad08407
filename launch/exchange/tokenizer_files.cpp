#include "launch/exchange/tokenizer_files.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/atomic_directory.h"
#include "core/printable.h"
#include "data/text/byte_pair_tokenizer.h"
#include "data/text/sentencepiece_tokenizer.h"
#include "launch/training/state_fields.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// Of an export of a model whose tokenizer is no SentencePiece model.
std::unique_ptr<Tokenizer> from_description(const fs::path& folder, const nlohmann::json& json) {
  try {
    return make_tokenizer(json.at("identity").get<std::string>(),
                          from_hexadecimal(json.at("model").get<std::string>()));
  } catch (const nlohmann::json::exception& error) {
    throw FileError(fmt::format("{}: \"palimpsest\".\"tokenizer\" is not as expected: {}",
                                (folder / "config.json").string(), printable(error.what())));
  } catch (const Error& error) {
    throw FileError(fmt::format("{}: {}", (folder / "config.json").string(), error.what()));
  }
}

}  // namespace

std::unique_ptr<Tokenizer> read_tokenizer(const fs::path& folder, const nlohmann::json& own) {
  if (own.is_object() && own.contains("tokenizer") && !own["tokenizer"].is_null()) {
    return from_description(folder, own["tokenizer"]);
  }
  std::error_code error;
  if (fs::exists(folder / sentencepiece_file, error)) return SentencePieceTokenizer::load(folder / sentencepiece_file);
  if (fs::exists(folder / byte_pair_file, error)) return BytePairTokenizer::load(folder / byte_pair_file);
  throw FileError(fmt::format("{}: has no {} and no {}; --tokenizer names another one", folder.string(),
                              sentencepiece_file, byte_pair_file));
}

void write_tokenizer(const fs::path& folder, const Tokenizer& tokenizer, std::int64_t context) {
  nlohmann::ordered_json config;
  if (const auto* pieces = dynamic_cast<const SentencePieceTokenizer*>(&tokenizer)) {
    write_file_atomically(folder / sentencepiece_file, pieces->model());
    config = {{"tokenizer_class", "LlamaTokenizer"},
              {"bos_token", pieces->piece(pieces->begin_id())},
              {"eos_token", pieces->piece(pieces->end_id())},
              {"unk_token", pieces->piece(pieces->unknown_piece())},
              {"add_bos_token", true},
              {"add_eos_token", false},
              {"legacy", false}};
  } else if (const auto* pairs = dynamic_cast<const BytePairTokenizer*>(&tokenizer)) {
    write_file_atomically(folder / byte_pair_file, pairs->json());
    config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"bos_token", pairs->content(pairs->begin_id())},
              {"eos_token", pairs->content(pairs->end_id())}};
  } else {
    return;
  }
  config["clean_up_tokenization_spaces"] = false;
  config["model_max_length"] = context;
  write_file_atomically(folder / "tokenizer_config.json", config.dump(2) + '\n');
}

nlohmann::ordered_json describe_tokenizer(const Tokenizer& tokenizer) {
  if (dynamic_cast<const SentencePieceTokenizer*>(&tokenizer) != nullptr) return nullptr;
  if (dynamic_cast<const BytePairTokenizer*>(&tokenizer) != nullptr) return nullptr;
  return {{"identity", tokenizer.identity()}, {"model", to_hexadecimal(tokenizer.model())}};
}

}  // namespace palimpsest
