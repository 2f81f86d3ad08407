// A small model and a small corpus for the tests of this folder.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/tokens/token_file.h"
#include "layers/language_model.h"

namespace palimpsest {

/// Two layers, grouped queries, segments of eight tokens, parameters large enough to tell tokens apart.
inline ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 258;
  config.hidden_size = 16;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.ffn_size = 24;
  config.segment_length = 8;
  config.initializer_range = 0.4;
  return config.resolved();
}

inline std::unique_ptr<LanguageModel> tiny_model(MemoryPool& pool) {
  auto model = std::make_unique<LanguageModel>(pool, tiny_config(), DataType::float32);
  model->initialize(7);
  return model;
}

/// Text of `bytes` bytes, different for every seed.
inline std::string tiny_text(std::size_t bytes, unsigned seed) {
  std::string text;
  for (unsigned state = seed * 2654435761u + 1; text.size() < bytes; state = state * 1664525u + 1013904223u) {
    text += (state >> 28) == 0 ? ' ' : static_cast<char>('a' + (state >> 16) % 26);
  }
  return text;
}

/// A token file of documents with the given numbers of bytes, one word each for every four bytes.
inline void write_token_file(const std::filesystem::path& path, const std::vector<std::size_t>& document_bytes) {
  const ByteTokenizer tokenizer;
  TokenFileWriter writer(path, tokenizer);
  for (std::size_t i = 0; i < document_bytes.size(); ++i) {
    const auto bytes = static_cast<std::int64_t>(document_bytes[i]);
    writer.add_document("document-" + std::to_string(i),
                        tokenizer.encode(tiny_text(document_bytes[i], static_cast<unsigned>(i))), bytes / 4 + 1, bytes);
  }
  writer.finish();
}

}  // namespace palimpsest
