// Stateful decoding for generation: a prompt of any length, then token by token, in constant memory:
// the memory of the finished segments and the keys and values of the current one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layers/language_model.h"

namespace palimpsest {

/// One document being continued. The model must outlive the decoder.
class Decoder {
 public:
  Decoder(const LanguageModel& model, MemoryPool& pool);

  /// Passes tokens through the model, whole segments at a time where it can. Returns the logits
  /// (vocab_size) after the last one. Throws ShapeError on no tokens or a token outside the vocabulary.
  Tensor advance(std::span<const std::int32_t> tokens);
  Tensor advance(std::int32_t token) { return advance(std::span(&token, 1)); }

  /// Tokens passed through so far.
  std::int64_t tokens() const { return tokens_; }

 private:
  Tensor advance_batch(std::span<const std::int32_t> tokens);
  Tensor advance_one(std::int32_t token);
  void finish_segment();

  const LanguageModel& model_;
  MemoryPool& pool_;
  std::vector<LayerMemory> memory_;   // before the current segment
  std::vector<SegmentCache> caches_;  // of the current segment
  bool holds_document_ = false;       // whether a segment has been finished
  std::int64_t position_ = 0;         // tokens of the current segment
  std::int64_t tokens_ = 0;
};

}  // namespace palimpsest
