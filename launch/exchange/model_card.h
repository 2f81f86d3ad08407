// README.md of an exported model: what it is, how it was trained, what it was measured on and how it is used.
#pragma once

#include <string>

#include "launch/training/saved_model.h"

namespace palimpsest {

/// Markdown with the fields that Hugging Face reads at its head. Perplexities are those of complete evaluations of this
/// very step in the checkpoint's run directory. `config` is the run's, as it may be published. Throws FileError when a
/// result of an evaluation cannot be read.
std::string model_card(const SavedModel& saved, const RunConfig& config, const std::string& name,
                       const std::string& licence);

}  // namespace palimpsest
