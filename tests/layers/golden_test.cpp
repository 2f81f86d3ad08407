// The model against the golden vectors: every *.h5 in tests/golden, or in the folder that the
// environment variable PALIMPSEST_GOLDEN names. They were computed in float64 by an independent
// implementation; tests/golden/README.md describes the files.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/io/hdf5_file.h"
#include "layers/language_model.h"

namespace palimpsest {
namespace {

std::filesystem::path golden_folder() {
  const char* other = std::getenv("PALIMPSEST_GOLDEN");
  return other ? std::filesystem::path(other) : std::filesystem::path(PALIMPSEST_SOURCE_DIR) / "tests/golden";
}

std::vector<std::string> golden_files() {
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
    config.memory_update =
        file.text_attribute("memory_update", "config") == "delta" ? MemoryUpdate::delta : MemoryUpdate::linear;
    config.empty_memory =
        file.text_attribute("empty_memory", "config") == "gated" ? EmptyMemory::gated : EmptyMemory::local;
    config.memory_epsilon = file.real_attribute("memory_epsilon", "config");
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

  Hdf5File file;
  ModelConfig config;
  TokenBatch batch;
  double total_weight = 0;
};

/// Largest difference, relative to the largest expected entry.
double worst(const std::vector<double>& actual, const std::vector<double>& expected) {
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double distance = std::abs(actual[i] - expected[i]);
    if (!(distance <= difference)) difference = distance;  // NaN stays
    largest = std::max(largest, std::abs(expected[i]));
  }
  return largest > 0 ? difference / largest : difference;
}

struct Case {
  std::string name;
  DataType type;
  Schedule schedule;
  Recompute recompute;
};

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return fmt::format("{}_{}_{}{}", info.param.name, name_of(info.param.type),
                     info.param.schedule == Schedule::sequential ? "sequential" : "parallel",
                     info.param.recompute == Recompute::none ? "" : fmt::format("_{}", name_of(info.param.recompute)));
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::string& name : golden_files()) {
    for (const DataType type : {DataType::float64, DataType::float32}) {
      all.push_back({name, type, Schedule::sequential, Recompute::none});
      all.push_back({name, type, Schedule::sequential, Recompute::segment});
      all.push_back({name, type, Schedule::parallel, Recompute::none});
      all.push_back({name, type, Schedule::parallel, Recompute::cheap});
      all.push_back({name, type, Schedule::parallel, Recompute::block});
    }
  }
  return all;
}

class GoldenTest : public testing::TestWithParam<Case> {};

TEST_P(GoldenTest, LossLogitsMemoryAndGradients) {
  const Case& param = GetParam();
  Golden golden(param.name);
  const double tolerance = param.type == DataType::float64 ? 1e-9 : 2e-4;
  MemoryPool pool;
  LanguageModel model(pool, golden.config, param.type);
  for (Parameter& parameter : model.parameters()) {
    const auto values =
        golden.reals("parameters/" + parameter.name, static_cast<std::size_t>(parameter.master.elements()));
    parameter.master = Tensor::from_values(pool, parameter.master.shape(), parameter.master.data_type(), values);
    parameter.variable.value() = parameter.master;
  }

  double maximum = 0;
  const auto compare = [&](const std::string& what, const Tensor& tensor) {
    ASSERT_TRUE(tensor.defined()) << what;
    const double error = worst(tensor.to_doubles(), golden.reals(what, static_cast<std::size_t>(tensor.elements())));
    EXPECT_LE(error, tolerance) << what;
    maximum = std::max(maximum, error);
  };

  MemoryState memory = model.empty_memory(pool, golden.batch.lanes);
  compare("expected/logits", model.logits(pool, golden.batch, memory));
  for (std::size_t layer = 0; layer < memory.layers.size(); ++layer) {
    compare(fmt::format("expected/memory/{}/matrix", layer), memory.layers[layer].matrix);
    compare(fmt::format("expected/memory/{}/norm", layer), memory.layers[layer].norm);
  }

  memory = model.empty_memory(pool, golden.batch.lanes);
  const double sum = model.accumulate_gradients(pool, golden.batch, memory,
                                                {param.schedule, param.recompute, 1.0 / golden.total_weight});
  const double loss = golden.reals("expected/loss", 1).front();
  EXPECT_LE(std::abs(sum / golden.total_weight - loss) / loss, tolerance);
  for (std::size_t layer = 0; layer < memory.layers.size(); ++layer) {
    compare(fmt::format("expected/memory/{}/matrix", layer), memory.layers[layer].matrix);
    compare(fmt::format("expected/memory/{}/norm", layer), memory.layers[layer].norm);
  }
  for (const Parameter& parameter : model.parameters()) {
    compare("expected/gradients/" + parameter.name, parameter.variable.gradient());
  }
  RecordProperty("largest_relative_difference", fmt::format("{:.3g}", maximum));
}

INSTANTIATE_TEST_SUITE_P(Files, GoldenTest, testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace palimpsest
