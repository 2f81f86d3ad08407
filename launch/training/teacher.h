// The frozen model that a run learns from (configs/options/distillation_config.h).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "configs/run_config.h"
#include "core/comm/communicator.h"
#include "core/io/stateful.h"
#include "core/storage.h"
#include "launch/training/initial_weights.h"
#include "layers/language_model.h"

namespace palimpsest {

struct Teacher {
  std::string path;  // where it was stored
  std::string hash;  // of its parameters' names and values
  std::unique_ptr<LanguageModel> model;
};

/// The model that distillation.teacher or train.initial_weights names, of its own shape and with the attention that
/// `distillation` asks for, its parameters in the pool; none where distillation.share is 0. Throws as `open_stored`
/// does, saying that it is the teacher and which key names it, and ConfigError when it knows other tokens than the
/// run's model, or lacks parameters. Collective.
std::optional<Teacher> open_teacher(const RunConfig& resolved, const OpenStoredModel& open_stored,
                                    const std::string& tokenizer_identity, DataType type, MemoryPool& pool,
                                    Communicator& communicator);

/// Sees to it that a run resumes with the teacher that it began with.
class TeacherComponent final : public Stateful {
 public:
  /// The teacher must outlive it.
  explicit TeacherComponent(const Teacher& teacher) : teacher_(teacher) {}
  std::string name() const override { return "teacher"; }
  nlohmann::json state() override { return {{"path", teacher_.path}, {"hash", teacher_.hash}}; }
  void restore(const nlohmann::json& state) override;

 private:
  const Teacher& teacher_;
};

}  // namespace palimpsest
