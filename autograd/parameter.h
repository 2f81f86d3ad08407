// The learned tensors of a model, in a fixed order and under Hugging Face's names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/variable.h"

namespace palimpsest {

/// What a parameter is, by which the optimiser groups it. `lora_up` is a matrix that begins with zeros.
enum class ParameterRole { matrix, embedding, norm, bias, memory_gate, memory_gain, memory_decay, lora_up };

/// The large ones: they are decayed, and may be computed with in bfloat16 and shared out over ranks.
constexpr bool is_matrix(ParameterRole role) {
  return role == ParameterRole::matrix || role == ParameterRole::embedding || role == ParameterRole::lora_up;
}

/// Gates and decays of the memory: logits, which have to move by units where weights move by hundredths.
constexpr bool is_memory_logit(ParameterRole role) {
  return role == ParameterRole::memory_gate || role == ParameterRole::memory_decay;
}

struct Parameter {
  std::string name;
  ParameterRole role;
  /// The values the optimiser updates and checkpoints store: float32 (float64 in tests).
  Tensor master;
  /// What the model computes with: the master itself, or its bfloat16 copy. Its gradient is float32
  /// (float64 in tests) and undefined while nothing has been accumulated in this step.
  Variable variable;

  /// Whether it is trained, or frozen: then it has neither gradient nor state of an optimiser.
  bool trained() const { return variable.requires_gradient(); }
  /// Makes the working copy follow the master after an update; nothing to do when they are one.
  void refresh() {
    if (variable.value().raw().data() != master.raw().data()) copy(master, variable.value());
  }
};

/// Parameters in the order in which the model defines them; names are unique.
class ParameterList {
 public:
  /// Adds a parameter. `compute_type` bfloat16 makes a working copy where the role allows it
  /// (matrices and embeddings; norms and gates stay in the master's type). Throws ShapeError on a
  /// name already taken.
  Variable add(MemoryPool& pool, std::string name, ParameterRole role, Tensor master, DataType compute_type);

  std::vector<Parameter>& all() { return parameters_; }
  const std::vector<Parameter>& all() const { return parameters_; }
  auto begin() { return parameters_.begin(); }
  auto end() { return parameters_.end(); }
  auto begin() const { return parameters_.begin(); }
  auto end() const { return parameters_.end(); }
  std::size_t size() const { return parameters_.size(); }
  /// Throws ShapeError when there is none of that name.
  Parameter& find(std::string_view name);
  std::int64_t elements() const;
  /// Of the parameters that are trained.
  std::int64_t trained_elements() const;
  void clear_gradients();

 private:
  std::vector<Parameter> parameters_;
};

}  // namespace palimpsest
