// A checkpoint becomes a folder that Hugging Face's tools take for a Llama or Qwen, and `palimpsest import` for itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/data_type.h"
#include "launch/training/saved_model.h"

namespace palimpsest {

struct ExportOptions {
  std::filesystem::path folder;
  DataType type = DataType::float32;          // or bfloat16, of all tensors
  std::uint64_t shard_bytes = 5'000'000'000;  // of data in a safetensors file, at most
  std::string licence = {};                   // as Hugging Face's model cards name it ("apache-2.0"); empty: unsaid
  bool force = false;                         // replaces an earlier export
};

/// Writes config.json, safetensors, generation_config.json, README.md and what there is of a tokenizer: all or nothing.
/// Parameters that transformers' models have not, and the run's configuration without its directories, go in under
/// names of their own (launch/exchange/tensor_names.h, "palimpsest" in config.json). In float32 `import_model` gives
/// every bit back. LoRA is merged into the weights first. Returns the number of parameters. Throws WriteError when the
/// folder exists, unless it is an export and `force` is given; ConfigError on a licence that is no identifier.
std::int64_t export_model(const SavedModel& saved, const ExportOptions& options);

}  // namespace palimpsest
