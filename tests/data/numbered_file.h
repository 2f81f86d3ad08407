// A token file whose tokens tell where they stand, for tests of what lanes read.
#pragma once

#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokens/token_file.h"
#include "tests/temporary_directory.h"

namespace palimpsest::testing {

/// A vocabulary so large that every token of a test file has an id of its own, which tells its place.
class WideTokenizer final : public Tokenizer {
 public:
  std::vector<std::int32_t> encode(std::string_view) const override { return {}; }
  std::string decode(std::span<const std::int32_t>) const override { return {}; }
  std::int64_t vocab_size() const override { return 1'000'000; }
  std::int32_t begin_id() const override { return 999'998; }
  std::int32_t end_id() const override { return 999'999; }
  std::string identity() const override { return "wide"; }
  std::string token_bytes(std::int32_t, bool&) const override { return {}; }
};

/// A token file in which a text token at file offset n is the token n.
struct NumberedFile {
  /// Of each text the first `prompts[i]` tokens are masked, as far as there are numbers.
  explicit NumberedFile(const std::vector<std::int64_t>& text_lengths, const std::vector<std::int64_t>& prompts = {}) {
    TokenFileWriter writer(directory / "tokens.h5", WideTokenizer());
    for (std::size_t i = 0; i < text_lengths.size(); ++i) {
      const std::int64_t length = text_lengths[i];
      std::vector<std::int32_t> text(static_cast<std::size_t>(length));
      std::iota(text.begin(), text.end(), static_cast<std::int32_t>(writer.token_count() + 1));
      TextMasks masks;
      if (i < prompts.size() && prompts[i] > 0) masks = {{{0, prompts[i]}}, 1, 1};
      writer.add_document("", text, length, length, {}, masks);
    }
    writer.finish();
    file.emplace(directory / "tokens.h5");
    all.resize(static_cast<std::size_t>(file->token_count()));
    file->read(0, all);
  }

  TemporaryDirectory directory;
  std::optional<TokenFile> file;
  std::vector<std::int32_t> all;
};

}  // namespace palimpsest::testing
