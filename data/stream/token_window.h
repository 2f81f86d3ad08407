// What a lane holds of a token file: the tokens that it reads next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "data/tokens/token_file.h"

namespace palimpsest {

class TokenWindow {
 public:
  static constexpr std::int64_t read_ahead = 1 << 15;  // tokens

  /// Of several windows that share `read_ahead` each may have less.
  explicit TokenWindow(std::int64_t share = read_ahead) : read_ahead_(share) {}

  /// Tokens [begin, begin + count) of the file, which lie in one document that ends before `end`. Reads ahead in it.
  std::span<const std::int32_t> read(const TokenFile& file, std::int64_t begin, std::int64_t count, std::int64_t end) {
    const auto own_end = begin_ + static_cast<std::int64_t>(tokens_.size());
    if (file_ != &file || begin < begin_ || begin + count > own_end) {
      std::vector<std::int32_t> fresh(static_cast<std::size_t>(std::min(end - begin, std::max(count, read_ahead_))));
      file.read(begin, fresh);
      file_ = &file;
      begin_ = begin;
      tokens_ = std::move(fresh);
    }
    return std::span(tokens_).subspan(static_cast<std::size_t>(begin - begin_), static_cast<std::size_t>(count));
  }

 private:
  std::int64_t read_ahead_;
  const TokenFile* file_ = nullptr;
  std::int64_t begin_ = 0;  // where tokens_ begin in the file
  std::vector<std::int32_t> tokens_;
};

}  // namespace palimpsest
