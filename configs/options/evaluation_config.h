// How a split is evaluated while training (launch/inference/evaluator.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace palimpsest {

/// A token file that is evaluated along with the validation split.
struct EvaluationSet {
  std::string name;  // in logs and metrics
  std::string file;
};

/// Summaries that are written of some held-out documents and measured against those that people have written.
struct SummaryEvaluationConfig {
  std::string pairs;           // *.jsonl; empty: none are written
  std::int64_t every = 0;      // steps; 0: only at the end
  std::int64_t max_pairs = 8;  // from the first on; 0: all
  std::int64_t max_tokens = 200;
  std::int64_t no_repeat_ngram = 0;
  std::int64_t beams = 1;
  std::string pair_template = R"({document}\n\nSummary:\n{summary})";  // to be unescaped
  bool stem = false;
};

struct EvaluationConfig {
  std::int64_t every = 0;          // steps between evaluations of the validation split; 0: only at the end
  std::int64_t batch_size = 8;     // documents a rank evaluates at once
  std::int64_t max_documents = 0;  // 0: all
  std::vector<EvaluationSet> sets;
  SummaryEvaluationConfig summaries;
};

}  // namespace palimpsest
