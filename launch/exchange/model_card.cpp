#include "launch/exchange/model_card.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "configs/yaml.h"
#include "core/error.h"
#include "core/io/json_file.h"
#include "core/printable.h"
#include "launch/exchange/model_description.h"
#include "launch/exchange/tensor_names.h"
#include "launch/inference/evaluation_file.h"
#include "launch/output/progress.h"
#include "launch/training/run_directory.h"
#include "layers/attention/registry.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// A row of the table of perplexities; empty for results of other commands, of other steps, of evaluations that were
/// stopped, and of those that took the memory away or read in windows.
std::string row_of(const fs::path& path, std::int64_t step) {
  try {
    const nlohmann::json json = parse_json(read_text_file(path), path.string());
    if (!is_evaluation(json) || json.at("step") != step || json.at("complete") != true ||
        json.value("memory", "kept") != "kept" || json.contains("window")) {
      return "";
    }
    const nlohmann::json& total = json.at("total");
    std::string file = fs::path(json.at("data").get<std::string>()).filename().string();
    if (json.contains("set")) file += fmt::format(" ({})", json.at("set").get<std::string>());
    return fmt::format("| {} | {} | {:.4f} | {:.2f} | {:.4f} |\n", printable(file),
                       total.at("tokens").get<std::int64_t>(), total.at("token_perplexity").get<double>(),
                       total.at("word_perplexity").get<double>(), total.at("bits_per_byte").get<double>());
  } catch (const nlohmann::json::exception& error) {
    throw FileError(fmt::format("{}: is no result of an evaluation: {}", path.string(), printable(error.what())));
  }
}

/// Rows of the table of keys found, of a result of `palimpsest passkey`; empty for those of other steps, and for an
/// evaluation of what is called so.
std::string keys_of(const fs::path& path, std::int64_t step) {
  try {
    const nlohmann::json json = parse_json(read_text_file(path), path.string());
    if (is_evaluation(json)) return "";
    const nlohmann::json& task = json.at("task");
    if (task.at("step") != step) return "";
    std::string rows;
    for (const nlohmann::json& cell : json.at("cells")) {
      const nlohmann::json& found = cell.at("exact_match");
      rows +=
          fmt::format("| {} | {} | {} | {:.0f} ({:.0f} to {:.0f}) | {:.0f} |\n", cell.at("length").get<std::int64_t>(),
                      cell.at("depth").get<double>(), cell.at("samples").size(), 100 * found.at("share").get<double>(),
                      100 * found.at("low").get<double>(), 100 * found.at("high").get<double>(),
                      100 * cell.at("exact_match_without_memory").at("share").get<double>());
    }
    return fmt::format(
        "{} of {} digits{}{}, found whole in so many of 100 prompts (95 % interval), and without the memory:\n\n"
        "| tokens | depth | prompts | found | without memory |\n| --- | --- | --- | --- | --- |\n{}\n",
        format_plural(task.at("keys").get<std::int64_t>(), "key"), task.at("digits").get<std::int64_t>(),
        task.at("updates") != 0 ? fmt::format(", replaced {} times", task.at("updates").get<std::int64_t>()) : "",
        !task.at("filler").get<std::string>().empty() ? ", in real text" : "", rows);
  } catch (const nlohmann::json::exception& error) {
    throw FileError(fmt::format("{}: is no result of palimpsest passkey: {}", path.string(), printable(error.what())));
  }
}

/// The results in the run's directory whose names begin so, by name.
std::vector<fs::path> results(const SavedModel& saved, std::string_view beginning) {
  const fs::path run = run_directory_of(*saved.checkpoint);
  std::vector<fs::path> files;
  std::error_code error;
  if (!run.empty()) {
    for (fs::directory_iterator entry(RunDirectory(run).evaluation(), error), end; !error && entry != end;
         entry.increment(error)) {
      const fs::path& path = entry->path();
      if (path.extension() == ".json" && path.filename().string().starts_with(beginning)) {
        files.push_back(path);
      }
    }
  }
  std::ranges::sort(files);
  return files;
}

std::string passkey(const SavedModel& saved) {
  std::string tables;
  for (const fs::path& file : results(saved, "passkey-")) tables += keys_of(file, saved.progress.step);
  return tables.empty() ? "" : "## Passkey retrieval\n\n" + tables;
}

std::string perplexities(const SavedModel& saved) {
  std::string rows;
  for (const fs::path& file : results(saved, "")) rows += row_of(file, saved.progress.step);
  if (rows.empty()) return "None were measured before the export.\n";
  return "Over whole documents, the memory carried through each:\n\n"
         "| token file | tokens | per token | per word | bits per byte |\n| --- | --- | --- | --- | --- |\n" +
         rows;
}

std::string training(const SavedModel& saved, const RunConfig& config) {
  const TrainConfig& train = config.train;
  if (saved.progress.step == 0) return "Imported, and not trained since.\n";
  std::string data = config.data.kind == DataKind::passkey ? "passkey prompts (training)" : "";
  if (config.data.kind == DataKind::queries) {
    data = fmt::format("parts of documents as queries, `{}` (training)", config.data.queries.corpus);
  }
  for (const MixtureEntry& entry : config.data.mixture) {
    data += fmt::format("{}{} (training, weight {})", data.empty() ? "" : ", ",
                        entry.kind == DataKind::passkey ? "passkey prompts" : fmt::format("`{}`", entry.file),
                        entry.weight);
  }
  for (const auto& [split, file] :
       {std::pair("training", config.data.train), std::pair("validation", config.data.validation),
        std::pair("test", config.data.test)}) {
    if (!file.empty()) data += fmt::format("{}`{}` ({})", data.empty() ? "" : ", ", file, split);
  }
  const std::string checksum = saved.cursor.value("data_checksum", "");
  return fmt::format(
      "{} steps of {} sequences of {} tokens, {} tokens in all, in {}; {} with a learning rate of {}. Gradients passed "
      "through {} segments.\n\nData: {}.{}\n",
      saved.progress.step, train.batch_size, train.sequence_length, saved.progress.tokens,
      train.precision == Precision::bfloat16 ? "bfloat16" : "float32",
      config.optimizer.kind == OptimizerKind::adamw ? "AdamW" : "Adafactor", config.optimizer.learning_rate,
      (train.sequence_length + config.model.segment_length - 1) / config.model.segment_length, data,
      checksum.empty() ? "" : fmt::format(" The training data's checksum is {}.", printable(checksum)));
}

}  // namespace

std::string model_card(const SavedModel& saved, const RunConfig& config, const std::string& name,
                       const std::string& licence) {
  const ModelConfig& model = config.model;
  const std::string_view kind = traits_of(model.attention.kind).name, architecture = architecture_of(model);
  return fmt::format(
      "---\n{}library_name: transformers\npipeline_tag: text-generation\ntags:\n- palimpsest\n- {}-attention\n---\n\n"
      "# {}\n\n"
      "A language model of {} parameters: a {} with {} layers, width {}, {} query and {} key/value heads of {}, a "
      "vocabulary of {} and segments of {} tokens. Its attention is of Palimpsest's kind `{}`; `infini` is "
      "[Infini-attention](https://arxiv.org/abs/2404.07143), which reads all that came before a segment from a memory "
      "of fixed size.\n{}\n"
      "## Training\n\n{}\n"
      "## Perplexity\n\n{}\n{}"
      "## Use\n\n"
      "As it was trained, with its memory, in Palimpsest:\n\n"
      "```\npalimpsest import {} runs/imported\npalimpsest generate runs/imported --prompt \"...\"\n```\n\n"
      "With transformers, as a {} without memory, on {} tokens at a time. It warns that it does not use the tensors "
      "`{}*`, where there are any.\n\n"
      "## Configuration\n\n```yaml\n{}```\n",
      licence.empty() ? "" : fmt::format("license: {}\n", licence), kind, printable(name), model.parameters(),
      architecture, model.num_layers, model.hidden_size, model.num_heads, model.num_kv_heads, model.head_size,
      model.vocab_size, model.segment_length, kind,
      licence.empty() ? "\nNo licence was stated with the export.\n" : fmt::format("\nLicence: {}.\n", licence),
      training(saved, config), perplexities(saved), passkey(saved), printable(name), architecture, model.segment_length,
      own_prefix, to_yaml(config));
}

}  // namespace palimpsest
