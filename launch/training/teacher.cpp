#include "launch/training/teacher.h"

#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "core/error.h"
#include "core/io/file_hash.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

StoredModel open_named(const OpenStoredModel& open_stored, const std::string& key, const std::string& path,
                       Communicator& communicator, MemoryPool& pool) {
  try {
    return open_stored(path, communicator, pool);
  } catch (Error& error) {
    error.add_context(fmt::format("the teacher, {} {}", key, path));
    throw;
  }
}

std::string hash_of(const ParameterList& parameters) {
  FileHash hash;
  for (const Parameter& parameter : parameters) {
    hash.update(std::as_bytes(std::span(parameter.name)));
    hash.update(parameter.master.raw());
  }
  return hash.digest();
}

}  // namespace

std::optional<Teacher> open_teacher(const RunConfig& config, const OpenStoredModel& open_stored,
                                    const std::string& tokenizer_identity, DataType type, MemoryPool& pool,
                                    Communicator& communicator) {
  const DistillationConfig& distillation = config.distillation;
  if (!distillation.teaches()) return std::nullopt;
  const bool named = !distillation.teacher.empty();
  MemoryPool stored_pool;
  const std::string key = named ? "distillation.teacher" : "train.initial_weights";
  const StoredModel stored = open_named(open_stored, key, named ? distillation.teacher : config.train.initial_weights,
                                        communicator, stored_pool);
  const std::string start = fmt::format("{} {}: the teacher", key, stored.path);
  if (stored.tokenizer_identity != tokenizer_identity || stored.config.model.vocab_size != config.model.vocab_size) {
    throw ConfigError(fmt::format("{}'s tokenizer is {} and its vocabulary {}, those of this run {} and {}", start,
                                  stored.tokenizer_identity, stored.config.model.vocab_size, tokenizer_identity,
                                  config.model.vocab_size));
  }
  ModelConfig model = stored.config.model;
  model.attention = {.kind = distillation.attention};
  model.segment_length = distillation.window > 0 ? distillation.window : config.model.segment_length;
  Teacher teacher{
      .path = stored.path, .hash = {}, .model = std::make_unique<LanguageModel>(pool, model.resolved(), type)};
  for (Parameter& parameter : teacher.model->parameters()) {
    const auto found = std::ranges::find(stored.model->parameters(), parameter.name, &Parameter::name);
    const bool made_up = std::ranges::find(stored.made_up, parameter.name) != stored.made_up.end();
    if (made_up || found == stored.model->parameters().end()) {
      throw ConfigError(fmt::format("{} has no parameter {}", start, parameter.name));
    }
    copy(found->master, parameter.master);
    parameter.refresh();
    parameter.variable.set_requires_gradient(false);
  }
  teacher.hash = hash_of(teacher.model->parameters());
  return teacher;
}

void TeacherComponent::restore(const nlohmann::json& state) {
  const auto hash = state.at("hash").get<std::string>();
  if (hash == teacher_.hash) return;
  throw ConfigError(fmt::format("the run's teacher was {}, whose weights are not those of {} now",
                                printable(state.at("path").get<std::string>()), teacher_.path));
}

}  // namespace palimpsest
