// How layers obtain their parameters: named, registered in model order, zero until initialised.
#pragma once

#include <string>

#include "autograd/parameter.h"
#include "core/shape.h"

namespace palimpsest {

class ParameterFactory {
 public:
  ParameterFactory(MemoryPool& pool, ParameterList& list, DataType compute_type)
      : pool_(pool), list_(list), compute_type_(compute_type) {}

  Variable create(std::string name, ParameterRole role, Shape shape) {
    const DataType master_type = accumulate_type(compute_type_);
    return list_.add(pool_, std::move(name), role, Tensor::zeros(pool_, shape, master_type), compute_type_);
  }
  DataType compute_type() const { return compute_type_; }
  /// Parameters made so far: the position of the next one.
  std::size_t count() const { return list_.size(); }

 private:
  MemoryPool& pool_;
  ParameterList& list_;
  DataType compute_type_;
};

}  // namespace palimpsest
