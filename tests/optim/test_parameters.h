// A handful of parameters of every role with reproducible values, and the means to give them
// gradients: what the optimiser tests work on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "autograd/parameter.h"
#include "core/random.h"

namespace palimpsest {

inline std::vector<double> random_values(std::int64_t count, std::uint64_t step) {
  const Random random(11, RandomPurpose::test, step);
  std::vector<double> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(random.normal(static_cast<std::uint64_t>(i)));
  return values;
}

inline void add_parameter(ParameterList& parameters, MemoryPool& pool, const std::string& name, ParameterRole role,
                          Shape shape, const std::vector<double>& values, DataType master_type = DataType::float64,
                          DataType compute_type = DataType::float64) {
  parameters.add(pool, name, role, Tensor::from_values(pool, shape, master_type, values), compute_type);
}

inline void set_gradient(Parameter& parameter, MemoryPool& pool, const std::vector<double>& values) {
  parameter.variable.clear_gradient();
  parameter.variable.add_gradient(
      pool, Tensor::from_values(pool, parameter.master.shape(), parameter.master.data_type(), values));
}

/// Gradients for every parameter, different for every `step`.
inline void set_random_gradients(ParameterList& parameters, MemoryPool& pool, std::uint64_t step) {
  std::uint64_t index = 0;
  for (Parameter& parameter : parameters) {
    set_gradient(parameter, pool, random_values(parameter.master.elements(), 1000 * step + ++index));
  }
}

/// One parameter of every role; sizes that fill neither blocks nor vectors.
inline void add_every_role(ParameterList& parameters, MemoryPool& pool, DataType master_type, DataType compute_type) {
  const auto add = [&](const char* name, ParameterRole role, Shape shape, std::uint64_t step) {
    add_parameter(parameters, pool, name, role, shape, random_values(shape.elements(), step), master_type,
                  compute_type);
  };
  add("embed_tokens.weight", ParameterRole::embedding, {301, 127}, 1);
  add("layers.0.input_layernorm.weight", ParameterRole::norm, {127}, 2);
  add("layers.0.self_attn.q_proj.weight", ParameterRole::matrix, {517, 129}, 3);
  add("layers.0.self_attn.memory_gate", ParameterRole::memory_gate, {5}, 4);
}

/// The bytes of every master and working copy.
inline std::string bytes_of(ParameterList& parameters) {
  std::string bytes;
  const auto append = [&](const Tensor& tensor) {
    bytes.append(reinterpret_cast<const char*>(tensor.raw().data()), tensor.bytes());
  };
  for (Parameter& parameter : parameters) {
    append(parameter.master);
    append(parameter.variable.value());
  }
  return bytes;
}

}  // namespace palimpsest
