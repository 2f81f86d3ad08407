#include "layers/merged_model.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "core/matmul.h"

namespace palimpsest {

namespace {

const Parameter* find(const LanguageModel& model, const std::string& name) {
  const auto found = std::ranges::find(model.parameters(), name, &Parameter::name);
  return found == model.parameters().end() ? nullptr : &*found;
}

/// weight += scale up down.
void add_change(MemoryPool& pool, const Tensor& down, const Tensor& up, double scale, Tensor& weight) {
  Tensor scaled = converted(pool, up, up.data_type());
  dispatch(scaled.data_type(), [&]<class T>() {
    for (T& value : scaled.values<T>()) value = static_cast<T>(value * static_cast<T>(scale));
  });
  matmul(pool, matrix_of(std::as_const(scaled)), matrix_of(down), matrix_of(weight), Output::accumulate);
}

}  // namespace

std::unique_ptr<LanguageModel> merge_lora(const LanguageModel& model, MemoryPool& pool) {
  ModelConfig config = model.config();
  config.lora = {};
  auto merged = std::make_unique<LanguageModel>(pool, config, model.compute_type());
  for (Parameter& parameter : merged->parameters()) {
    copy(find(model, parameter.name)->master, parameter.master);
    const std::string_view ending = ".weight";
    const std::string stem = parameter.name.substr(0, parameter.name.size() - ending.size());
    if (const Parameter* down = find(model, stem + ".lora_A.weight")) {
      add_change(pool, down->master, find(model, stem + ".lora_B.weight")->master, model.config().lora.scale(),
                 parameter.master);
    }
    parameter.refresh();
  }
  return merged;
}

}  // namespace palimpsest
