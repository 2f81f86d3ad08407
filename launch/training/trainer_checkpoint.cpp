// The trainer's checkpoints: what of a run goes into one, and how a run goes on from one.
#include <string_view>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/comm/agreement.h"
#include "core/error.h"
#include "core/gemm.h"
#include "launch/ranks/sequence_groups.h"
#include "launch/training/trainer.h"
#include "launch/training/training_state.h"

namespace palimpsest {

namespace {

std::vector<std::string> names_of(const StateDictionary& entries) {
  std::vector<std::string> names;
  for (const auto& entry : entries) names.push_back(entry.name);
  return names;
}

}  // namespace

void Trainer::resume() {
  std::vector<std::string> differences;
  const std::optional<Checkpoint> checkpoint =
      checkpointer_.store().newest(communicator_, [&](const Checkpoint& found) { differences = restore(found); });
  if (checkpoint) {
    log_.note(fmt::format("Resuming from {}", checkpoint->path().string()));
    if (!differences.empty()) {
      log_.warn(fmt::format("changed since the checkpoint, so the run goes on otherwise than it would have: {}",
                            fmt::join(differences, "; ")));
    }
    const TrainingState then = training_state_of(*checkpoint), now = training_state();
    const auto describe = [](const TrainingState& state) {
      return fmt::format("{} with {} each on {}", format_plural(state.ranks, "rank"),
                         format_plural(state.threads, "thread"), state.instruction_set);
    };
    if (describe(then) != describe(now)) {
      log_.warn(
          fmt::format("the checkpoint was written by {}, now there are {}: results agree within rounding, not "
                      "bit for bit",
                      describe(then), describe(now)));
    }
  }
  if (communicator_.is_root()) {
    write_result(directory_.config(), to_yaml(config_));
    metrics_.emplace(directory_.metrics(), state_.progress.step, [this](const std::string& text) { log_.warn(text); });
  }
}

std::vector<std::string> Trainer::restore(const Checkpoint& checkpoint) {
  const TrainingState state = training_state_of(checkpoint);
  std::vector<std::string> differences =
      check_resumable(parse_saved_config(checkpoint.config_yaml(), checkpoint.path().string()), config_);
  const StateDictionary parameters = parameter_entries(), optimizer = optimizer_entries();
  checkpoint.require_section("parameters", names_of(parameters));
  checkpoint.require_section("optimizer", names_of(optimizer));
  StateDictionary targets;
  targets.add_all("parameters", parameters);
  targets.add_all("optimizer", optimizer);
  if (config_.train.carry_memory) {
    agree<FileError>(communicator_,
                     [&] { set_memory_documents(state, checkpoint.path(), state_.first_lane, state_.memories); });
    for (const auto& entry : memory_entries(state_.memories, state_.first_lane)) targets.add(entry);
  }
  checkpoint.load(targets, communicator_);

  for (Parameter& parameter : model_.parameters()) parameter.refresh();
  step_.optimizer().set_step(state.optimizer_step);
  stream_.seek(state.cursor);
  state_.progress = {state.step, state.tokens, state.skipped_steps, state.consecutive_skips};
  step_.spikes().restore(state.loss_window);
  return differences;
}

TrainingState Trainer::training_state() {
  TrainingState state;
  state.step = state_.progress.step;
  state.optimizer_step = step_.optimizer().step();
  state.tokens = state_.progress.tokens;
  state.skipped_steps = state_.progress.skipped_steps;
  state.consecutive_skips = state_.progress.consecutive_skips;
  state.loss_window = step_.spikes().window();
  state.cursor = stream_.cursor();
  state.tokenizer_identity = train_file_.tokenizer_identity();
  state.tokenizer_model = train_file_.tokenizer_model();
  state.ranks = communicator_.size();
  state.threads = threads_.threads;
  state.instruction_set = instruction_set();
  return state;
}

void Trainer::start_checkpoint() {
  guard_.enter(Phase::saving);
  if (metrics_) metrics_->synchronize();
  report_checkpoint(checkpointer_.finish());
  step_.wait();
  TrainingState state = training_state();
  guard_.enter(Phase::communication);
  if (config_.train.carry_memory) state.memory_documents = gather_memory_documents(own_memories(), communicator_);
  const CheckpointTensors tensors = checkpoint_tensors();
  checkpointer_.start(state_.progress.step, tensors.replicated, tensors.owned, to_json(state), to_yaml(config_));
}

void Trainer::prepare_checkpoints() {
  const CheckpointTensors tensors = checkpoint_tensors();
  checkpointer_.prepare(tensors.owned.bytes() +
                        tensors.replicated.bytes() / static_cast<std::uint64_t>(communicator_.size()));
}

std::vector<MemoryState> Trainer::own_memories() const {
  return leads_sequence_group(communicator_.rank(), config_.train.sequence_ranks) ? state_.memories
                                                                                  : std::vector<MemoryState>();
}

Trainer::CheckpointTensors Trainer::checkpoint_tensors() {
  CheckpointTensors tensors;
  if (config_.train.carry_memory) tensors.owned = memory_entries(own_memories(), state_.first_lane);
  tensors.replicated.add_all("parameters", parameter_entries());
  step_.optimizer().visit_state([&](const std::string& name, Tensor& tensor, const Optimizer::StatePlace& place) {
    (place.cut ? tensors.owned : tensors.replicated).add_slice(name, place.whole, place.begin, tensor);
  });
  return tensors;
}

void Trainer::finish_checkpoint(bool required) { report_checkpoint(checkpointer_.finish(), required); }

void Trainer::report_checkpoint(const std::optional<Checkpointer::Outcome>& outcome, bool required) {
  if (!outcome) return;
  if (outcome->error) {
    const std::string message =
        fmt::format("the checkpoint of step {} was not saved, the earlier ones are as they were: {}", outcome->step,
                    *outcome->error);
    if (required || config_.checkpoint.on_failure == OnFailure::stop) throw WriteError(message);
    log_.warn(message);
    return;
  }
  guard_.time_limit().save_took(outcome->seconds);
  log_.note(fmt::format("step {}  checkpoint saved in {:.1f} s{}", outcome->step, outcome->seconds,
                        checkpointer_.asynchronous()
                            ? fmt::format(", training waited {:.0f} ms", 1000 * outcome->seconds_waited)
                            : std::string()));
  for (const std::string& warning : outcome->warnings) log_.warn(warning);
}

StateDictionary Trainer::parameter_entries() {
  StateDictionary entries;
  for (const Parameter& parameter : model_.parameters()) entries.add(parameter.name, parameter.master);
  return entries;
}

StateDictionary Trainer::optimizer_entries() {
  StateDictionary entries;
  step_.optimizer().visit_state([&](const std::string& name, Tensor& tensor, const Optimizer::StatePlace& place) {
    entries.add_slice(name.substr(std::string_view("optimizer/").size()), place.whole, place.begin, tensor);
  });
  return entries;
}

}  // namespace palimpsest
