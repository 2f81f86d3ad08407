// metrics.jsonl in the run directory: one JSON object a line for every logged step and every
// evaluation, in the order in which they happened; and gates.jsonl, where the memory gates stood. No step appears twice
// in either, however often the run was resumed. docs/file-formats.md has every key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "autograd/parameter.h"
#include "core/token_batch.h"
#include "launch/output/line_file.h"

namespace palimpsest {

struct SummaryMeasures;  // launch/training/summary_evaluation.h

/// What the steps since the line before have made of one source of a mixture.
struct SourceMetrics {
  std::string name;
  SourceTotals totals;
};

/// Adds them up.
class MixedLosses {
 public:
  void add(std::span<const SourceTotals> sources);
  /// What was added, source by source, without those that there were no tokens of; nothing is left.
  std::vector<SourceMetrics> take(const std::vector<std::string>& names);

 private:
  std::vector<SourceTotals> totals_;
};

/// What one training step is remembered by.
struct StepMetrics {
  std::int64_t step = 0;     // 1 after the first update
  std::int64_t tokens = 0;   // predicted since the start of the run
  double loss = 0;           // mean negative log-likelihood per token of this step, nats; NaN where it had no targets
  bool has_targets = true;   // whether any token was to be predicted
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;
  double memory_gate_learning_rate = 0;
  double tokens_per_second = 0;
  double step_seconds = 0;                 // mean over the steps since the last logged one
  double model_flops_per_second = 0;       // of all ranks together (layers/model_flops.h)
  std::int64_t time = 0;                   // when the step ended, seconds since 1970
  std::int64_t skipped_steps = 0;          // since the start of the run, because something was not finite
  std::vector<SourceMetrics> sources;      // of a mixture, those that there were tokens of
  std::optional<double> divergence;        // from the teacher, mean per token of this step, nats; none without one
  std::optional<ContrastTotals> contrast;  // of this step; none where no queries are contrasted
  AnswerCounts answers;                    // of this step; none where the data asks no questions
  std::string position;                    // in the data, where the step does not say it all: "stage 2 of 6"

  nlohmann::ordered_json to_json() const;
};

/// "step 120/1000  loss 2.3456  ppl 10.44  bits/token 3.384  12.3 k tokens/s  lr 3.00e-04  grad 0.912  ETA 3 min 05 s"
std::string format_step(const StepMetrics& step, std::int64_t total_steps, double seconds_left);

/// sigmoid of every memory gate, (layers, heads).
std::vector<std::vector<double>> gate_values(const ParameterList& parameters);

/// gates.jsonl, beside a run's metrics.jsonl.
std::filesystem::path gates_beside(const std::filesystem::path& metrics);
/// A line of it.
nlohmann::ordered_json gates_line(std::int64_t step, const std::vector<std::vector<double>>& gates);

/// Whether the gates are written after `step`, which is a logged one: the first, the last, and some 200 between them.
bool gates_due(std::int64_t step, std::int64_t total_steps, std::int64_t log_every);

/// metrics.jsonl or gates.jsonl.
class MetricsLog {
 public:
  /// Opens `path`, first dropping the lines of steps after `last_step` and any torn line: a run
  /// resumed at that step writes them again. Throws FileError or WriteError, naming the file. `warn` hears what
  /// becomes of it later (launch/output/line_file.h).
  MetricsLog(const std::filesystem::path& path, std::int64_t last_step, LineFile::Warn warn);

  /// Does not throw: a full disk is no reason to stop training.
  void append(const nlohmann::ordered_json& line) { file_.append(line.dump() + '\n'); }
  /// Throws WriteError when there are lines that could not be written in the end.
  void finish();
  /// Forces what was written to disk.
  void synchronize() { file_.synchronize(); }

 private:
  std::filesystem::path path_;
  LineFile file_;
};

/// Whether the metrics file `path` has an evaluation of a split after `step`, or a line about it of another kind; false
/// without such a file. Throws FileError when it cannot be read.
bool holds_evaluation(const std::filesystem::path& path, std::int64_t step, const std::string& split = "validation",
                      const std::string& kind = "evaluation");

/// A line about summaries that were written after `step`.
nlohmann::ordered_json summaries_line(std::int64_t step, const SummaryMeasures& measures);
/// "ROUGE-1 0.2345  ROUGE-2 ...": the F1.
std::string format_summaries(const SummaryMeasures& measures);

/// The least loss of each split so far, and how far a later one is above it: what has been forgotten.
class LeastLosses {
 public:
  struct Rise {
    double nats = 0;         // a token; 0: there was no less before
    std::int64_t since = 0;  // the step of the least
  };

  /// Takes the evaluations up to `last_step` of a metrics file, which need not be there. Throws FileError when it
  /// cannot be read.
  void read(const std::filesystem::path& path, std::int64_t last_step);
  Rise add(const std::string& split, std::int64_t step, double loss);

 private:
  struct Least {
    double loss;
    std::int64_t step;
  };
  std::map<std::string, Least> least_;
};

/// The lines of a metrics file that belong to steps up to `last_step`, newline included.
std::string lines_until(const std::string& metrics, std::int64_t last_step);

}  // namespace palimpsest
