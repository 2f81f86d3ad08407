#include "launch/library/model.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/checkpoint/checkpoint_store.h"
#include "launch/library/file_access.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_plan.h"
#include "launch/training/saved_model.h"

namespace palimpsest {

Model::Model(const std::filesystem::path& path, std::int64_t step) {
  const std::scoped_lock lock(file_access());
  SavedModel saved =
      open_model(path, step, *communicator_, pool_, [this](const std::string& text) { warnings_.push_back(text); });
  config_ = std::move(saved.config);
  tokenizer_ = std::move(saved.tokenizer);
  model_ = std::move(saved.model);
  progress_ = saved.progress;
  const std::string warning = precision_warning(config_.train.precision, model_->compute_type());
  if (!warning.empty()) warnings_.push_back(warning);
}

Model::Model(const RunConfig& config, std::unique_ptr<Tokenizer> tokenizer)
    : config_(config), tokenizer_(std::move(tokenizer)) {
  if (config_.model.vocab_size == 0) config_.model.vocab_size = tokenizer_->vocab_size();
  config_.model = config_.model.resolved();
  if (config_.model.vocab_size < tokenizer_->vocab_size()) {
    throw ConfigError(fmt::format("model.vocab_size is {}, but the tokenizer has {} tokens (0 takes that number)",
                                  config_.model.vocab_size, tokenizer_->vocab_size()));
  }
  model_ = std::make_unique<LanguageModel>(pool_, config_.model, compute_type(config_.train.precision, *communicator_));
  model_->initialize(config_.train.seed);
}

Generator Model::new_text() { return {*model_, *tokenizer_, pool_}; }

Generator Model::open_text(const std::filesystem::path& path) {
  const std::scoped_lock lock(file_access());
  return open_generator(path, *model_, *tokenizer_, pool_);
}

void Model::save_text(const std::filesystem::path& path, const Generator& text) {
  const std::scoped_lock lock(file_access());
  save_generator(path, text);
}

void Model::save(const std::filesystem::path& run_directory) {
  const std::scoped_lock lock(file_access());
  const std::filesystem::path checkpoints = RunDirectory(run_directory).checkpoints();
  if (!CheckpointStore(checkpoints).steps().empty()) {
    throw WriteError(
        fmt::format("{}: holds checkpoints already, which this one would stand in the way of: expected a new folder",
                    checkpoints.string()));
  }
  config_.train.run_directory = run_directory.string();
  config_.train.steps = std::max(config_.train.steps, progress_.step);
  save_model(checkpoints, config_, *model_, *tokenizer_, progress_, *communicator_);
}

}  // namespace palimpsest
