// A model to begin with, wherever it comes from.
#pragma once

#include "launch/training/initial_weights.h"

namespace palimpsest {

/// A Hugging Face folder (config.json and safetensors, what `import` takes), or what open_checkpoint_model opens.
/// Collective. Throws FileError, as these do.
StoredModel open_stored_model(const std::filesystem::path& path, Communicator& communicator, MemoryPool& pool);

}  // namespace palimpsest
