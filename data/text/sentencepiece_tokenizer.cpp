#include "data/text/sentencepiece_tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <utility>

#include "core/error.h"
#include "core/io/child_process.h"
#include "core/io/file_hash.h"
#include "core/io/json_file.h"

namespace palimpsest {

namespace {

constexpr std::size_t max_model_bytes = std::size_t{64} << 20;  // ten times the largest in use
constexpr std::string_view space_mark = "\xE2\x96\x81";         // U+2581, how pieces spell a space

std::string with_spaces(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    const bool is_space = piece.starts_with(space_mark);
    text += is_space ? ' ' : piece.front();
    piece.remove_prefix(is_space ? space_mark.size() : 1);
  }
  return text;
}

/// Everything the program asks of a model, once. The library throws, aborts or reads beyond its tables when a model
/// that has the form of one makes no sense.
void use(const std::string& model) {
  sentencepiece::SentencePieceProcessor processor;
  if (!processor.LoadFromSerializedProto(model).ok()) return;
  std::vector<int> tokens;
  std::string text;
  processor.Encode("The memory of é, ﬁ, Ω and 𝄞\n\tis written\u3000over \xFF", &tokens).IgnoreError();
  processor.Decode(tokens, &text).IgnoreError();
  for (int token = 0; token < processor.GetPieceSize(); ++token) {
    const std::string piece = processor.IdToPiece(token);
    if (processor.IsByte(token)) std::stoi(piece.substr(1, 4), nullptr, 16);
    processor.Encode(piece, &tokens).IgnoreError();
    processor.Decode(std::vector<int>{token}, &text).IgnoreError();
  }
}

}  // namespace

std::unique_ptr<SentencePieceTokenizer> SentencePieceTokenizer::load(const std::filesystem::path& path) {
  return std::make_unique<SentencePieceTokenizer>(read_text_file(path, max_model_bytes), path.string());
}

SentencePieceTokenizer::SentencePieceTokenizer(std::string model, const std::string& name)
    : model_(std::move(model)), processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  if (const auto trouble = try_in_child([this] { use(model_); })) {
    throw FileError(fmt::format("{}: is no usable SentencePiece model: working with it {}", name, *trouble));
  }
  const auto status = processor_->LoadFromSerializedProto(model_);
  if (!status.ok()) throw FileError(fmt::format("{}: is not a SentencePiece model: {}", name, status.ToString()));
  const auto require = [&](int id, std::string_view what) {
    if (id < 0 || id >= processor_->GetPieceSize()) {
      throw FileError(fmt::format("{}: the model has no {} token, which marks where documents {}", name, what,
                                  what == "<s>" ? "begin" : "end"));
    }
  };
  require(processor_->bos_id(), "<s>");
  require(processor_->eos_id(), "</s>");
  FileHash hash;
  hash.update(std::as_bytes(std::span(model_)));
  identity_ = "sentencepiece:" + hash.digest();
  leading_spaces_ = probe_leading_spaces();
  unknown_id_ = spells_bytes() ? -1 : processor_->unk_id();
}

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

std::vector<std::int32_t> SentencePieceTokenizer::encode(std::string_view text) const {
  std::vector<int> tokens;
  const auto status = processor_->Encode(text, &tokens);
  if (!status.ok()) throw DataError(fmt::format("SentencePiece cannot encode the text: {}", status.ToString()));
  return tokens;
}

std::string SentencePieceTokenizer::decode(std::span<const std::int32_t> tokens) const {
  for (const std::int32_t token : tokens) require_token(token);
  std::string text;
  const auto status = processor_->Decode(std::vector<int>(tokens.begin(), tokens.end()), &text);
  if (!status.ok()) throw DataError(fmt::format("SentencePiece cannot decode the tokens: {}", status.ToString()));
  return text;
}

std::int64_t SentencePieceTokenizer::vocab_size() const { return processor_->GetPieceSize(); }
std::int32_t SentencePieceTokenizer::begin_id() const { return processor_->bos_id(); }
std::int32_t SentencePieceTokenizer::end_id() const { return processor_->eos_id(); }

std::string SentencePieceTokenizer::token_bytes(std::int32_t token, bool& at_start) const {
  require_token(token);
  if (processor_->IsControl(token)) return {};
  std::string_view piece = processor_->IdToPiece(token);
  const bool was_at_start = std::exchange(at_start, false);
  // Byte pieces are spelt "<0x0A>".
  if (processor_->IsByte(token)) {
    return std::string(1, static_cast<char>(std::stoi(std::string(piece.substr(1, 4)), nullptr, 16)));
  }
  if (processor_->IsUnknown(token)) return decode({{token}});
  if (was_at_start && leading_spaces_ != LeadingSpaces::kept && piece.starts_with(space_mark)) {
    piece.remove_prefix(space_mark.size());
    at_start = piece.empty() && leading_spaces_ == LeadingSpaces::all_dropped;
  }
  return with_spaces(piece);
}

std::string SentencePieceTokenizer::piece(std::int32_t token) const {
  require_token(token);
  return processor_->IdToPiece(token);
}

std::int32_t SentencePieceTokenizer::unknown_piece() const { return processor_->unk_id(); }

// The identifiers of a library are ints: what is outside them aborts it.
void SentencePieceTokenizer::require_token(std::int32_t token) const {
  if (token < 0 || token >= processor_->GetPieceSize()) {
    throw DataError(fmt::format("token {} is outside the vocabulary of {} tokens", token, processor_->GetPieceSize()));
  }
}

// The model's normaliser settings are not public; what the library decodes shows them.
SentencePieceTokenizer::LeadingSpaces SentencePieceTokenizer::probe_leading_spaces() const {
  const int space = processor_->PieceToId(space_mark);
  if (processor_->IsUnknown(space)) return LeadingSpaces::kept;
  const std::string spaces = decode({{space, space}});
  return spaces.size() == 2   ? LeadingSpaces::kept
         : spaces.size() == 1 ? LeadingSpaces::one_dropped
                              : LeadingSpaces::all_dropped;
}

// A model that spells unknown characters in bytes never needs its <unk>.
bool SentencePieceTokenizer::spells_bytes() const {
  for (std::int32_t token = 0; token < processor_->GetPieceSize(); ++token) {
    if (processor_->IsByte(token)) return true;
  }
  return false;
}

}  // namespace palimpsest
