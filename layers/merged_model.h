// A model whose LoRA has become part of its weights.
#pragma once

#include <memory>

#include "layers/language_model.h"

namespace palimpsest {

/// The same function without model.lora: each changed weight is W + scale B A, the sum made in the masters' type, of
/// which outputs differ by rounding alone. A plain copy where the model has none.
std::unique_ptr<LanguageModel> merge_lora(const LanguageModel& model, MemoryPool& pool);

}  // namespace palimpsest
