#include "launch/training/metrics.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "core/error.h"
#include "launch/output/progress.h"
#include "launch/training/run_directory.h"
#include "launch/training/summary_evaluation.h"

namespace palimpsest {

namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file && !file.eof()) throw FileError(fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
  return text;
}

double accuracy_of(const AnswerCounts& answers) {
  return static_cast<double>(answers.right) / static_cast<double>(answers.all);
}

}  // namespace

void MixedLosses::add(std::span<const SourceTotals> sources) {
  totals_.resize(sources.size());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    totals_[i].loss += sources[i].loss;
    totals_[i].weight += sources[i].weight;
    totals_[i].answers.right += sources[i].answers.right;
    totals_[i].answers.all += sources[i].answers.all;
  }
}

std::vector<SourceMetrics> MixedLosses::take(const std::vector<std::string>& names) {
  std::vector<SourceMetrics> metrics;
  for (std::size_t i = 0; i < totals_.size(); ++i) {
    if (totals_[i].weight > 0) metrics.push_back({names[i], totals_[i]});
  }
  totals_.clear();
  return metrics;
}

nlohmann::ordered_json StepMetrics::to_json() const {
  nlohmann::ordered_json json = {{"kind", "step"},
                                 {"step", step},
                                 {"time", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(time))},
                                 {"tokens", tokens},
                                 {"loss", loss},
                                 {"perplexity", std::exp(loss)},
                                 {"bits_per_token", loss / std::log(2.0)},
                                 {"gradient_norm", gradient_norm},
                                 {"learning_rate", learning_rate},
                                 {"memory_gate_learning_rate", memory_gate_learning_rate},
                                 {"tokens_per_second", tokens_per_second},
                                 {"step_seconds", step_seconds},
                                 {"model_flops_per_second", model_flops_per_second},
                                 {"skipped_steps", skipped_steps}};
  if (divergence) json["divergence"] = *divergence;
  if (contrast && contrast->tokens > 0) {
    json["contrast"] = contrast->loss / contrast->tokens;
    json["found"] = accuracy_of(contrast->found);
  }
  if (answers.all > 0) json["answer_accuracy"] = accuracy_of(answers);
  if (!position.empty()) json["position"] = position;
  for (const auto& [name, totals] : sources) {
    json["sources"][name] = {{"loss", totals.loss / totals.weight}, {"loss_weight", totals.weight}};
    if (totals.answers.all > 0) json["sources"][name]["answer_accuracy"] = accuracy_of(totals.answers);
  }
  return json;
}

std::string format_step(const StepMetrics& step, std::int64_t total_steps, double seconds_left) {
  std::string data;
  for (const auto& [name, totals] : step.sources) {
    data += fmt::format("  {} {:.4f}", name, totals.loss / totals.weight);
    if (totals.answers.all > 0) data += fmt::format(" ({:.1f} % right)", 100 * accuracy_of(totals.answers));
  }
  if (step.divergence && step.has_targets) data += fmt::format("  KL {:.4f}", *step.divergence);
  if (step.contrast && step.contrast->tokens > 0) {
    data += fmt::format("  contrast {:.4f} ({:.1f} % found)", step.contrast->loss / step.contrast->tokens,
                        100 * accuracy_of(step.contrast->found));
  }
  if (step.answers.all > 0 && step.sources.empty())
    data += fmt::format("  answers {:.1f} %", 100 * accuracy_of(step.answers));
  if (!step.position.empty()) data += "  " + step.position;
  const std::string losses = step.has_targets ? fmt::format("loss {:.4f}  ppl {:.2f}  bits/token {:.3f}", step.loss,
                                                            std::exp(step.loss), step.loss / std::log(2.0))
                                              : "all masked";
  return fmt::format("step {}/{}  {}{}  {} tokens/s  lr {:.2e}  grad {:.3f}  ETA {}", step.step, total_steps, losses,
                     data, format_count(step.tokens_per_second), step.learning_rate, step.gradient_norm,
                     format_duration(seconds_left));
}

std::vector<std::vector<double>> gate_values(const ParameterList& parameters) {
  std::vector<std::vector<double>> gates;
  for (const Parameter& parameter : parameters) {
    if (parameter.role != ParameterRole::memory_gate) continue;
    gates.push_back(parameter.master.to_doubles());
    for (double& beta : gates.back()) beta = 1.0 / (1.0 + std::exp(-beta));
  }
  return gates;
}

std::filesystem::path gates_beside(const std::filesystem::path& metrics) {
  return std::filesystem::path(metrics).replace_filename("gates.jsonl");
}

nlohmann::ordered_json gates_line(std::int64_t step, const std::vector<std::vector<double>>& gates) {
  return {{"kind", "gates"}, {"step", step}, {"gates", gates}};
}

bool gates_due(std::int64_t step, std::int64_t total_steps, std::int64_t log_every) {
  constexpr std::int64_t most = 200;
  const std::int64_t every = log_every * ((total_steps + most * log_every - 1) / (most * log_every));
  return step == 1 || step == total_steps || step % every == 0;
}

std::string lines_until(const std::string& metrics, std::int64_t last_step) {
  std::string kept;
  std::size_t begin = 0;
  for (std::size_t end; (end = metrics.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string line = metrics.substr(begin, end + 1 - begin);
    const auto record = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!record.is_object()) continue;
    const auto step = record.find("step");
    if (step == record.end() || !step->is_number_integer() || step->get<std::int64_t>() > last_step) continue;
    kept += line;
  }
  return kept;
}

nlohmann::ordered_json summaries_line(std::int64_t step, const SummaryMeasures& measures) {
  nlohmann::ordered_json line = {{"kind", "rouge"},
                                 {"step", step},
                                 {"split", "summaries"},
                                 {"pairs", measures.pairs},
                                 {"tokens", measures.tokens}};
  for (std::size_t i = 0; i < rouge_names.size(); ++i) {
    const auto& [recall, precision, f1] = measures.means[i];
    line[std::string(rouge_names[i])] = {{"recall", recall}, {"precision", precision}, {"f1", f1}};
  }
  return line;
}

std::string format_summaries(const SummaryMeasures& measures) {
  const auto& [one, two, longest, of_lines] = measures.means;
  return fmt::format("ROUGE-1 {:.4f}  ROUGE-2 {:.4f}  ROUGE-L {:.4f}  ROUGE-Lsum {:.4f}", one.f1, two.f1, longest.f1,
                     of_lines.f1);
}

bool holds_evaluation(const std::filesystem::path& path, std::int64_t step, const std::string& split,
                      const std::string& kind) {
  if (!std::filesystem::exists(path)) return false;
  std::istringstream lines(read_text(path));
  for (std::string line; std::getline(lines, line);) {
    const auto record = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (record.is_object() && record.value("kind", nlohmann::json()) == kind &&
        record.value("split", nlohmann::json()) == split && record.value("step", nlohmann::json()) == step) {
      return true;
    }
  }
  return false;
}

void LeastLosses::read(const std::filesystem::path& path, std::int64_t last_step) {
  if (!std::filesystem::exists(path)) return;
  std::istringstream lines(lines_until(read_text(path), last_step));
  for (std::string line; std::getline(lines, line);) {
    const auto record = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const auto split = record.find("split"), loss = record.find("loss");
    if (split == record.end() || !split->is_string() || loss == record.end() || !loss->is_number()) continue;
    add(split->get<std::string>(), record.at("step").get<std::int64_t>(), loss->get<double>());
  }
}

LeastLosses::Rise LeastLosses::add(const std::string& split, std::int64_t step, double loss) {
  const auto [least, is_new] = least_.try_emplace(split, Least{loss, step});
  if (is_new || loss <= least->second.loss) {
    least->second = {loss, step};
    return {};
  }
  return {loss - least->second.loss, least->second.step};
}

namespace {

/// The same file, holding the lines up to `last_step` only.
const std::filesystem::path& shortened(const std::filesystem::path& path, std::int64_t last_step) {
  if (!std::filesystem::exists(path)) return path;
  const std::string text = read_text(path);
  const std::string kept = lines_until(text, last_step);
  if (kept != text) write_result(path, kept);
  return path;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, std::int64_t last_step, LineFile::Warn warn)
    : path_(path), file_(shortened(path, last_step), std::move(warn)) {}

void MetricsLog::finish() {
  const std::size_t lines = file_.flush();
  if (lines > 0) {
    throw WriteError(fmt::format("{}: {} {}; the checkpoints are saved", path_.string(),
                                 format_plural(static_cast<std::int64_t>(lines), "line"), file_.problem()));
  }
}

}  // namespace palimpsest
