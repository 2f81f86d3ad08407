// The golden vectors: every *.h5 in tests/golden, or in the folder that the environment variable
// PALIMPSEST_GOLDEN names. They were computed in float64 by an independent implementation;
// tests/golden/README.md describes the files.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "core/io/hdf5_file.h"
#include "layers/language_model.h"

namespace palimpsest {

inline std::filesystem::path golden_folder() {
  const char* other = std::getenv("PALIMPSEST_GOLDEN");
  return other ? std::filesystem::path(other) : std::filesystem::path(PALIMPSEST_SOURCE_DIR) / "tests/golden";
}

inline std::vector<std::string> golden_files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder())) {
    if (entry.path().extension() == ".h5") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct Golden {
  explicit Golden(const std::string& name) : file(Hdf5File::open(golden_folder() / (name + ".h5"))) {
    const auto integer = [&](const char* key) { return file.integer_attribute(key, "config"); };
    config.vocab_size = integer("vocab_size");
    config.hidden_size = integer("hidden_size");
    config.num_layers = integer("num_layers");
    config.num_heads = integer("num_heads");
    config.num_kv_heads = integer("num_kv_heads");
    config.head_size = integer("head_size");
    config.ffn_size = integer("ffn_size");
    config.segment_length = integer("segment_length");
    config.attention.memory_update =
        file.text_attribute("memory_update", "config") == "delta" ? MemoryUpdate::delta : MemoryUpdate::linear;
    config.attention.empty_memory =
        file.text_attribute("empty_memory", "config") == "gated" ? EmptyMemory::gated : EmptyMemory::local;
    // Files without options have none of these.
    const auto is = [&](const char* key, const char* value) {
      return file.has_attribute(key, "config") && file.text_attribute(key, "config") == value;
    };
    if (is("gate", "add")) config.attention.gate = GateKind::add;
    if (file.has_attribute("overlap", "config")) config.attention.overlap = integer("overlap");
    config.attention.memory_decay = file.has_attribute("memory_decay", "config") && integer("memory_decay") != 0;
    config.attention.memory_shift = file.has_attribute("memory_shift", "config") && integer("memory_shift") != 0;
    if (is("memory_features", "identity")) config.attention.memory_features = MemoryFeatures::identity;
    if (is("memory_query", "key")) config.attention.memory_query = MemoryQuery::key;
    if (is("memory_readout", "rms")) config.attention.memory_readout = MemoryReadout::rms;
    config.qkv_bias = file.has_attribute("qkv_bias", "config") && integer("qkv_bias") != 0;
    config.qk_norm = file.has_attribute("qk_norm", "config") && integer("qk_norm") != 0;
    config.attention.memory_epsilon = file.real_attribute("memory_epsilon", "config");
    config.norm_epsilon = file.real_attribute("norm_epsilon", "config");
    config.rope_theta = file.real_attribute("rope_theta", "config");
    config.tie_embeddings = integer("tie_embeddings") != 0;
    const Shape shape = file.info("tokens").shape;
    batch.lanes = shape[0];
    batch.tokens = shape[1];
    const auto count = static_cast<std::size_t>(shape.elements());
    batch.inputs = narrow(integers("tokens", count));
    batch.targets = narrow(integers("targets", count));
    batch.documents = file.contains("documents") ? integers("documents", count) : std::vector<std::int64_t>(count, 0);
    batch.loss_weights.assign(count, 1.0f);
    if (file.contains("loss_weights")) {
      const std::vector<double> weights = reals("loss_weights", count);
      std::transform(weights.begin(), weights.end(), batch.loss_weights.begin(),
                     [](double w) { return static_cast<float>(w); });
    }
    if (file.contains("write_weights")) {
      const std::vector<double> weights = reals("write_weights", count);
      batch.write_weights.assign(weights.begin(), weights.end());
    }
    for (const float weight : batch.loss_weights) total_weight += weight;
  }

  std::vector<std::int64_t> integers(const std::string& name, std::size_t count) const {
    std::vector<std::int64_t> values(count);
    file.read(name, std::span(values));
    return values;
  }
  std::vector<double> reals(const std::string& name, std::size_t count) const {
    std::vector<double> values(count);
    file.read(name, std::span(values));
    return values;
  }
  static std::vector<std::int32_t> narrow(const std::vector<std::int64_t>& values) {
    return {values.begin(), values.end()};
  }

  /// Writes the parameters of the file to the model's.
  void load(LanguageModel& model, MemoryPool& pool) const {
    for (Parameter& parameter : model.parameters()) {
      const auto values = reals("parameters/" + parameter.name, static_cast<std::size_t>(parameter.master.elements()));
      parameter.master = Tensor::from_values(pool, parameter.master.shape(), parameter.master.data_type(), values);
      parameter.variable.value() = parameter.master;
    }
  }

  Hdf5File file;
  ModelConfig config;
  TokenBatch batch;
  double total_weight = 0;
};

}  // namespace palimpsest
