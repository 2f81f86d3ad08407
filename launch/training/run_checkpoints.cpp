#include "launch/training/run_checkpoints.h"

#include <utility>
#include <vector>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"

namespace palimpsest {

RunCheckpoints::RunCheckpoints(const Setting& setting, Components components, const Origin& own)
    : setting_(setting),
      components_(std::move(components)),
      own_(own),
      checkpointer_(CheckpointStore(setting.directory.checkpoints(),
                                    {setting.config.checkpoint.keep_last, setting.config.checkpoint.keep_every},
                                    [&log = setting.log](const std::string& text) { log.warn(text); }),
                    setting.guard.communicator(), setting.config.checkpoint.asynchronous,
                    [&guard = setting.guard](Phase phase) { guard.enter(phase); }) {
  components_.push_back(std::make_unique<OriginComponent>(own_, restored_));
}

void RunCheckpoints::resume() {
  std::vector<std::string> differences;
  const auto load = [&](const Checkpoint& found) {
    if (found.step() == 0) {  // of an import, or of the library
      throw ConfigError(
          fmt::format("{}: holds a model alone, and no state of a training to resume. Choose another "
                      "train.run_directory, and name this one as train.initial_weights",
                      setting_.config.train.run_directory));
    }
    differences = check_resumable(parse_saved_config(found.config_yaml(), found.path().string()), setting_.config);
    restore(found, components_, setting_.guard.communicator());
  };
  const std::optional<Checkpoint> checkpoint = checkpointer_.store().newest(setting_.guard.communicator(), load);
  if (!checkpoint) return;
  saved_step_ = checkpoint->step();
  RunLog& log = setting_.log;
  log.note(fmt::format("Resuming from {}", checkpoint->path().string()));
  if (!differences.empty()) {
    log.warn(fmt::format("changed since the checkpoint, so the run goes on otherwise than it would have: {}",
                         fmt::join(differences, "; ")));
  }
  if (restored_ != own_) {
    log.warn(
        fmt::format("the checkpoint was written by {}, now there are {}: results agree within rounding, not "
                    "bit for bit",
                    restored_.describe(), own_.describe()));
  }
}

void RunCheckpoints::prepare() {
  const Stateful::Tensors tensors = tensors_of(components_);
  checkpointer_.prepare(tensors.owned.bytes() +
                        tensors.replicated.bytes() / static_cast<std::uint64_t>(setting_.guard.communicator().size()));
  release(components_);
}

void RunCheckpoints::start(std::int64_t step) {
  finish(/*required=*/false);
  setting_.guard.enter(Phase::communication);
  const nlohmann::json state = state_of(components_);
  const Stateful::Tensors tensors = tensors_of(components_);
  checkpointer_.start(step, tensors.replicated, tensors.owned, state, to_yaml(setting_.config));
  release(components_);
}

void RunCheckpoints::report(const std::optional<Checkpointer::Outcome>& outcome, bool required) {
  if (!outcome) return;
  if (outcome->error) {
    const std::string message =
        fmt::format("the checkpoint of step {} was not saved, the earlier ones are as they were: {}", outcome->step,
                    *outcome->error);
    if (required || setting_.config.checkpoint.on_failure == OnFailure::stop) throw WriteError(message);
    setting_.log.warn(message);
    return;
  }
  saved_step_ = outcome->step;
  setting_.guard.time_limit().save_took(outcome->seconds);
  setting_.log.note(fmt::format("step {}  checkpoint saved in {:.1f} s{}", outcome->step, outcome->seconds,
                                checkpointer_.asynchronous()
                                    ? fmt::format(", training waited {:.0f} ms", 1000 * outcome->seconds_waited)
                                    : std::string()));
  for (const std::string& warning : outcome->warnings) setting_.log.warn(warning);
}

}  // namespace palimpsest
