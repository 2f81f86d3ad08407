// The trainer's checkpoints: what of a run goes into one, and how a run goes on from one.
#include <chrono>
#include <string_view>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/comm/agreement.h"
#include "core/error.h"
#include "launch/report.h"
#include "launch/trainer.h"
#include "launch/training_state.h"

namespace palimpsest {

void Trainer::resume() {
  std::optional<Checkpoint> checkpoint = checkpointer_.newest();
  if (checkpoint) {
    const TrainingState state = training_state_of(*checkpoint);
    const RunConfig saved = parse_run_config(checkpoint->config_yaml(), checkpoint->path().string());
    const std::vector<std::string> differences = check_resumable(saved, config_);
    stream_.seek(state.cursor);
    agree<FileError>(communicator_, [&] {
      checkpoint->read_section("parameters", parameter_entries());
      checkpoint->read_section("optimizer", optimizer_entries());
      if (config_.train.carry_memory) read_memory(*checkpoint, state, first_lane_, memories_);
    });
    for (Parameter& parameter : model_.parameters()) parameter.refresh();
    optimizer_->set_step(state.optimizer_step);
    step_ = resumed_step_ = state.step;
    tokens_ = state.tokens;
    skipped_steps_ = state.skipped_steps;
    log_.note(fmt::format("Resuming from {}", checkpoint->path().string()));
    if (!differences.empty()) {
      log_.warn(fmt::format("changed since the checkpoint, so the run goes on otherwise than it would have: {}",
                            fmt::join(differences, "; ")));
    }
    if (state.ranks != communicator_.size() || state.threads != threads_) {
      log_.warn(
          fmt::format("the checkpoint was written by {} with {} each, now there are {} with {}: results agree "
                      "within rounding, not bit for bit",
                      format_plural(state.ranks, "rank"), format_plural(state.threads, "thread"),
                      format_plural(communicator_.size(), "rank"), format_plural(threads_, "thread")));
    }
  }
  if (communicator_.is_root()) {
    write_result(directory_.config(), to_yaml(config_));
    metrics_.emplace(directory_.metrics(), step_);
  }
}

void Trainer::save_checkpoint() {
  TrainingState state;
  state.step = step_;
  state.optimizer_step = optimizer_->step();
  state.tokens = tokens_;
  state.skipped_steps = skipped_steps_;
  state.cursor = stream_.cursor();
  state.tokenizer_identity = train_file_.tokenizer_identity();
  state.tokenizer_model = train_file_.tokenizer_model();
  state.ranks = communicator_.size();
  state.threads = threads_;
  StateDictionary memory;
  if (config_.train.carry_memory) {
    // The ranks that share sequences have the same memory.
    const std::vector<MemoryState> own = leads_sequence_group() ? memories_ : std::vector<MemoryState>();
    state.memory_documents = gather_memory_documents(own, communicator_);
    memory = memory_entries(own, first_lane_);
  }
  StateDictionary replicated;
  replicated.add_all("parameters", parameter_entries());
  replicated.add_all("optimizer", optimizer_entries());
  const auto start = Pace::Clock::now();
  checkpointer_.save(step_, replicated, memory, to_json(state), to_yaml(config_));
  const double seconds = std::chrono::duration<double>(Pace::Clock::now() - start).count();
  time_limit_.save_took(seconds);
  log_.note(fmt::format("step {}  checkpoint saved in {:.1f} s", step_, seconds));
}

StateDictionary Trainer::parameter_entries() {
  StateDictionary entries;
  for (const Parameter& parameter : model_.parameters()) entries.add(parameter.name, parameter.master);
  return entries;
}

StateDictionary Trainer::optimizer_entries() {
  StateDictionary entries;
  optimizer_->visit_state([&](const std::string& name, Tensor& tensor) {
    entries.add(name.substr(std::string_view("optimizer/").size()), tensor);
  });
  return entries;
}

}  // namespace palimpsest
