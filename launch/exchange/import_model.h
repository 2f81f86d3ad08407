// A Hugging Face model folder becomes a run with a checkpoint of step 0.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "core/storage.h"
#include "data/text/tokenizer.h"
#include "layers/language_model.h"

namespace palimpsest {

struct ImportOptions {
  std::filesystem::path folder;        // with config.json and safetensors
  std::filesystem::path destination;   // a run directory, or the path of a checkpoint "step-00000000"; import_model's
  std::vector<std::string> overrides;  // "section.key=value" of the run's configuration
  std::string tokenizer;               // instead of the folder's; empty: the folder's
};

/// A folder's model in memory.
struct ReleasedModel {
  RunConfig config;  // of the run that it would become
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<LanguageModel> model;  // float32
  std::int64_t context = 0;              // tokens that it was made for
  std::vector<std::string> initialized;  // parameters that the folder does not have: those of the memory
  std::vector<std::string> notes;        // what else the user should know
};

/// Reads the folder's tensors, of whatever type, into float32 parameters in the pool. What released
/// models have not starts as a new model's would. Throws as import_model does.
ReleasedModel read_released_model(const ImportOptions& options, MemoryPool& pool);

struct ImportResult {
  std::filesystem::path checkpoint;
  std::int64_t parameters = 0;           // elements
  std::vector<std::string> initialized;  // parameters that the folder does not have: those of the memory
  std::vector<std::string> notes;        // what else the user should know
};

/// Reads the folder's tensors, of whatever type, into float32 parameters and writes the checkpoint, together with
/// config.yaml and tokenizer.model where the destination is a run directory; all of it or nothing. What released
/// models have not starts as a new model's would. Throws FileError, naming the tensor or key, on a folder that is not
/// exactly a model this program computes alike (launch/exchange/model_description.h): tensors that are missing, left
/// over, of another shape or not finite. WriteError when the destination exists.
ImportResult import_model(const ImportOptions& options, Communicator& communicator);

}  // namespace palimpsest
