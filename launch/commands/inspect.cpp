// palimpsest inspect: what a checkpoint holds, after verifying its files, or a token file or an index.
#include <memory>
#include <string>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "data/stream/segment_stream.h"
#include "launch/commands/command.h"
#include "launch/commands/inspect_tokens.h"
#include "launch/output/exit_codes.h"
#include "launch/output/progress.h"
#include "launch/output/standard_output.h"
#include "launch/output/table.h"
#include "launch/search/index_report.h"
#include "launch/training/metrics.h"
#include "launch/training/saved_model.h"
#include "launch/training/state_fields.h"
#include "layers/attention/registry.h"

namespace palimpsest {

namespace {

struct Options {
  std::string model;
  std::int64_t step = 0;  // 0: the newest
  bool json = false;
  std::int64_t document = -1;  // of a token file; -1: all of them, without their texts
};

std::uint64_t bytes_of(const Checkpoint& checkpoint) {
  std::uint64_t bytes = 0;
  for (const auto& file : checkpoint.files()) bytes += file.fingerprint.bytes;
  return bytes;
}

/// "matrix", "embedding", "norm", "memory_gate", "memory_gain", "memory_decay".
std::string name_of(ParameterRole role) {
  switch (role) {
    case ParameterRole::matrix: return "matrix";
    case ParameterRole::embedding: return "embedding";
    case ParameterRole::norm: return "norm";
    case ParameterRole::bias: return "bias";
    case ParameterRole::memory_gate: return "memory_gate";
    case ParameterRole::memory_gain: return "memory_gain";
    case ParameterRole::memory_decay: return "memory_decay";
    case ParameterRole::lora_up: return "lora_up";
  }
  return "unknown";
}

/// The layer of each gate, by its name: "layers.3.self_attn.memory_gate".
std::vector<std::string> layers_of_gates(const ParameterList& parameters) {
  std::vector<std::string> layers;
  for (const Parameter& parameter : parameters) {
    if (parameter.role != ParameterRole::memory_gate) continue;
    const std::size_t begin = parameter.name.find('.') + 1;
    layers.push_back(parameter.name.substr(begin, parameter.name.find('.', begin) - begin));
  }
  return layers;
}

/// A row per layer that has a gate and a column per head of sigmoid(beta): 0 local attention only, 1 memory only.
std::string format_gates(const ParameterList& parameters) {
  const std::vector<std::vector<double>> gates = gate_values(parameters);
  const std::vector<std::string> layers = layers_of_gates(parameters);
  std::vector<std::vector<std::string>> rows(1, {"layer"});
  for (std::size_t head = 0; !gates.empty() && head < gates.front().size(); ++head) {
    rows.front().push_back(fmt::format("head {}", head));
  }
  for (std::size_t layer = 0; layer < gates.size(); ++layer) {
    rows.push_back({layers[layer]});
    for (const double gate : gates[layer]) rows.back().push_back(fmt::format("{:.3f}", gate));
  }
  return format_table(rows);
}

/// Name, role, shape and size of every parameter, and the total.
std::string format_parameters(const ParameterList& parameters) {
  std::vector<std::vector<std::string>> rows = {{"parameter", "role", "shape", "elements"}};
  for (const Parameter& parameter : parameters) {
    rows.push_back({parameter.name, name_of(parameter.role), parameter.master.shape().to_string(),
                    fmt::format("{}", parameter.master.elements())});
  }
  rows.push_back(
      {fmt::format("all {} parameters", parameters.size()), "", "", fmt::format("{}", parameters.elements())});
  return format_table(rows);
}

nlohmann::ordered_json to_json(const ParameterList& parameters) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Parameter& parameter : parameters) {
    const auto extents = parameter.master.shape().extents();
    list.push_back({{"name", parameter.name},
                    {"role", name_of(parameter.role)},
                    {"shape", std::vector<std::int64_t>(extents.begin(), extents.end())}});
  }
  return list;
}

nlohmann::ordered_json describe_as_json(const Checkpoint& checkpoint, const SavedModel& saved) {
  nlohmann::ordered_json state = checkpoint.training_state(), files = nlohmann::ordered_json::array();
  state["tokenizer"] = saved.tokenizer->identity();
  for (const auto& file : checkpoint.files()) {
    files.push_back({{"name", file.name}, {"bytes", file.fingerprint.bytes}, {"hash", file.fingerprint.hash}});
  }
  return {{"checkpoint", saved.path().string()},
          {"step", saved.progress.step},
          {"parameters", saved.model->parameters().elements()},
          {"keeps", describe_kept_numbers(saved.model->config())},
          {"state", state},
          {"gates", gate_values(saved.model->parameters())},
          {"parameter_list", to_json(saved.model->parameters())},
          {"files", files},
          {"config", to_yaml(saved.config)}};
}

/// How far the data was read, from the state of a TokenSource.
std::string describe_position(const nlohmann::json& cursor) {
  if (cursor.value("kind", "") == "passkey") {
    return fmt::format("{} batches of passkey prompts read, stage {} of {}", whole_number(cursor, "steps"),
                       cursor.at("stage_begins").size(), cursor.at("task").at("stages").size());
  }
  if (cursor.value("kind", "") == "mixture") {
    return fmt::format("{} batches of a mixture of {} sources read, seed {}", whole_number(cursor, "steps"),
                       whole_number(cursor.at("task"), "sources"), whole_number(cursor.at("task"), "seed"));
  }
  if (cursor.value("kind", "") == "aligned") {
    const nlohmann::json& task = cursor.at("task");
    return fmt::format("{} batches of {} lanes x {} tokens read, {} segments before a target, seed {}, data {}",
                       whole_number(cursor, "steps"), whole_number(task, "batch_size"),
                       whole_number(task, "sequence_length"), whole_number(task, "segments_before_targets"),
                       whole_number(task, "seed"), task.at("data").get<std::string>());
  }
  if (cursor.value("kind", "") == "queries") {
    return fmt::format("{} batches of queries of documents read, seed {}", whole_number(cursor, "steps"),
                       whole_number(cursor.at("task"), "seed"));
  }
  const StreamCursor place = stream_cursor_from_json(cursor);
  const std::string in_turn =
      place.interleave > 1 ? fmt::format(" from {} places in turn", place.interleave) : std::string();
  return fmt::format("{} batches of {} lanes x {} tokens read{}, seed {}, data {}", place.steps, place.batch_size,
                     place.sequence_length, in_turn, place.seed, place.data_checksum);
}

std::string describe_memory(const SavedModel& saved) {
  if (saved.carried_lanes == 0) return "not carried";
  const std::int64_t places = saved.config.train.interleave;
  if (places == 1) return fmt::format("of {} lanes", saved.carried_lanes);
  return fmt::format("of {} lanes in {} places each", saved.carried_lanes / places, places);
}

std::string describe(const Checkpoint& checkpoint, const SavedModel& saved) {
  const Progress& progress = saved.progress;
  std::string text = fmt::format(
      "checkpoint  {}\n"
      "step        {} of {}: {} updates, {} skipped, {} tokens\n"
      "data        {}\n"
      "tokenizer   {}\n"
      "attention   {}, keeps {}\n"
      "memory      {}\n"
      "written by  {} with {} each, {}\n"
      "files       {} with {}, sizes and hashes verified\n",
      saved.path().string(), progress.step, saved.config.train.steps, saved.updates, progress.skipped_steps,
      progress.tokens, describe_position(saved.cursor), saved.tokenizer->identity(),
      traits_of(saved.config.model.attention.kind).name, describe_kept_numbers(saved.model->config()),
      describe_memory(saved), format_plural(saved.origin.ranks, "rank"), format_plural(saved.origin.threads, "thread"),
      saved.origin.instruction_set, checkpoint.files().size(), format_bytes(static_cast<double>(bytes_of(checkpoint))));
  text += "\n" + format_parameters(saved.model->parameters());
  text += "\nMemory gates, sigmoid(beta): 0 reads the segment only, 1 the memory only\n";
  text += format_gates(saved.model->parameters());
  return text + "\nConfiguration\n" + to_yaml(saved.config);
}

int inspect(const Options& options, Communicator& communicator) {
  if (is_index(options.model)) {
    if (options.document >= 0) {
      throw ConfigError(fmt::format("--document: {} is an index: expected a token file", options.model));
    }
    if (!communicator.is_root()) return ExitCode::ok;
    const auto folder = without_trailing_slash(options.model);
    write_to_stdout(options.json ? describe_index_as_json(folder).dump(2) + '\n' : describe_index(folder));
    return ExitCode::ok;
  }
  if (is_token_file(options.model)) {
    if (!communicator.is_root()) return ExitCode::ok;
    const TokenFile file(options.model);
    if (options.document < 0) {
      write_to_stdout(options.json ? describe_as_json(file).dump(2) + '\n' : describe(file));
    } else {
      write_to_stdout(options.json ? describe_document_as_json(file, options.document).dump(2) + '\n'
                                   : describe_document(file, options.document));
    }
    return ExitCode::ok;
  }
  if (options.document >= 0) {
    throw ConfigError(fmt::format("--document: {} is no token file", options.model));
  }
  MemoryPool pool;
  const SavedModel saved = open_model(options.model, options.step, communicator, pool);
  const Checkpoint& checkpoint = *saved.checkpoint;
  if (communicator.is_root()) {
    write_to_stdout(options.json ? describe_as_json(checkpoint, saved).dump(2) + '\n' : describe(checkpoint, saved));
  }
  return ExitCode::ok;
}

}  // namespace

Command add_inspect_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "inspect", "Verify a checkpoint and show what it holds. MODEL may be a token file or an index, too");
  add_model_options(*command, options->model, options->step);
  command->add_flag("--json", options->json, "Print JSON");
  command
      ->add_option("--document", options->document,
                   "Of a token file: the text of document N, counted from 0, with what of it is masked")
      ->type_name("N")
      ->check(whole_number_from(0));
  command->footer(
      help_footer("palimpsest inspect runs/quickstart\n"
                  "palimpsest inspect runs/quickstart --step 400 --json\n"
                  "palimpsest inspect packed/test.h5\n"
                  "palimpsest inspect packed/test.h5 --document 0\n"
                  "palimpsest inspect books.index"));
  return {command, [options](Communicator& communicator) { return inspect(*options, communicator); }};
}

}  // namespace palimpsest
