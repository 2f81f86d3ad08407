#include "launch/metrics.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/run_directory.h"

namespace palimpsest {

namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file && !file.eof()) throw FileError(fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
  return text;
}

}  // namespace

nlohmann::ordered_json StepMetrics::to_json() const {
  return {{"kind", "step"},
          {"step", step},
          {"tokens", tokens},
          {"loss", loss},
          {"perplexity", std::exp(loss)},
          {"bits_per_token", loss / std::log(2.0)},
          {"gradient_norm", gradient_norm},
          {"learning_rate", learning_rate},
          {"memory_gate_learning_rate", memory_gate_learning_rate},
          {"tokens_per_second", tokens_per_second},
          {"skipped_steps", skipped_steps},
          {"gates", gates}};
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

MetricsLog::MetricsLog(const std::filesystem::path& path, std::int64_t last_step) : path_(path) {
  if (std::filesystem::exists(path)) {
    const std::string text = read_text(path);
    const std::string kept = lines_until(text, last_step);
    if (kept != text) write_result(path, kept);
  }
  descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw WriteError(fmt::format("{}: cannot be opened for writing: {}", path.string(), std::strerror(errno)));
  }
}

MetricsLog::~MetricsLog() { close(descriptor_); }

void MetricsLog::append(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + '\n';
  for (std::size_t written = 0; written < text.size();) {
    const ssize_t bytes = write(descriptor_, text.data() + written, text.size() - written);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) throw WriteError(fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)));
    written += static_cast<std::size_t>(bytes);
  }
}

}  // namespace palimpsest
