// A trained model in one process, for programs that use Palimpsest as a library (docs/library.md): it is read from a
// run or made anew, and texts are begun with it or taken up again. MPI is not used, and no signal handler installed.
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
#include "launch/inference/generator.h"
#include "launch/inference/generator_file.h"
#include "launch/training/training_step.h"
#include "layers/language_model.h"

namespace palimpsest {

/// Must outlive the texts of it. Any number of threads may make texts and continue texts of their own at once, but not
/// while the model is trained.
class Model {
 public:
  /// From a checkpoint's directory, a run directory or a run's configuration file; of a run the checkpoint of `step`,
  /// or for 0 the newest one that is whole. Throws FileError.
  explicit Model(const std::filesystem::path& path, std::int64_t step = 0);
  /// With parameters drawn by config.train.seed. Of the configuration `model` and `train` count; `tokenizer` gives the
  /// size of the vocabulary where model.vocab_size is 0. Throws ConfigError.
  Model(const RunConfig& config, std::unique_ptr<Tokenizer> tokenizer);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /// A text that is read and continued (launch/inference/generator.h), at its start.
  Generator new_text();
  /// Goes on with what save_text or the program's --save-state wrote. Throws FileError and DataError, starting with the
  /// path, when the file is of no use here.
  Generator open_text(const std::filesystem::path& path);
  /// Replaces or creates the file; the earlier one stays where that fails. Throws WriteError.
  static void save_text(const std::filesystem::path& path, const Generator& text);

  /// A checkpoint of the parameters as they are, in `run_directory`, a run that has none yet; see save_model
  /// (launch/training/saved_model.h). Throws WriteError.
  void save(const std::filesystem::path& run_directory);

  const RunConfig& config() const { return config_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const LanguageModel& language_model() const { return *model_; }
  LanguageModel& language_model() { return *model_; }
  /// What made the parameters: steps and tokens.
  const Progress& progress() const { return progress_; }
  Progress& progress() { return progress_; }
  /// What was noticed when the model was read and hinders nothing, such as a newer checkpoint that is damaged.
  const std::vector<std::string>& warnings() const { return warnings_; }

  /// Where its tensors lie.
  MemoryPool& pool() { return pool_; }
  /// This process, alone.
  Communicator& communicator() { return *communicator_; }

 private:
  std::unique_ptr<Communicator> communicator_ = single_process();
  MemoryPool pool_;
  RunConfig config_;  // resolved
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<LanguageModel> model_;
  Progress progress_;
  std::vector<std::string> warnings_;
};

}  // namespace palimpsest
