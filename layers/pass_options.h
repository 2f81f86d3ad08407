// How a forward and backward pass is carried out; none of it changes the mathematics.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include "autograd/operator_profile.h"
#include "core/comm/communicator.h"
#include "core/token_batch.h"

namespace palimpsest {

/// The order of work over a sequence (docs/design.md, "Two schedules").
enum class Schedule {
  automatic,   // what plan_pass makes of it
  sequential,  // segment after segment, the memory handed on
  parallel,    // all segments at once, layer by layer
};

/// What backward computes again instead of keeping it.
enum class Recompute {
  automatic,  // what plan_pass makes of it
  none,
  cheap,    // outputs of norms, feed-forward gates and memory gates
  block,    // everything inside a layer but its input and memory
  segment,  // everything between the memories at the segments' starts: implies the sequential schedule
};

constexpr std::string_view name_of(Schedule schedule) {
  return schedule == Schedule::automatic ? "automatic" : schedule == Schedule::sequential ? "sequential" : "parallel";
}

constexpr std::string_view name_of(Recompute recompute) {
  switch (recompute) {
    case Recompute::automatic: return "automatic";
    case Recompute::none: return "none";
    case Recompute::cheap: return "cheap";
    case Recompute::block: return "block";
    case Recompute::segment: return "segment";
  }
  return "";
}

/// Told about parameters [begin, end) of a model.
using ParameterRange = std::function<void(std::size_t begin, std::size_t end)>;

/// What a pass tells whoever moves parameters and gradients between ranks. Each may be empty. The order is the same on
/// every rank.
struct ParameterEvents {
  /// In forward, before the parameters are used, possibly more than once.
  ParameterRange needed;
  /// In backward, as soon as their gradients are final, once for every parameter: the head, the last norm, the layers
  /// from the last to the second, the embedding, the first layer. The first layer's weight gradients are computed when
  /// the embedding's, which is large, has been told of.
  ParameterRange gradients_final;
};

class LanguageModel;

/// Learning from a frozen model: the loss of a token is (1 - share) its negative log-likelihood + share KL(teacher ||
/// model), the divergence of the two distributions over the next token.
struct Distillation {
  const LanguageModel* teacher = nullptr;  // null: none; reads each batch by itself, with nothing before it
  double share = 0;
  DistillationTotals* totals = nullptr;  // added to; may be null
};

/// Queries are to be likelier after their own document than after others that are asked the same one
/// (TokenBatch::queries, layers/contrast.h).
struct Contrast {
  double weight = 0;  // of the cross-entropy over the documents, beside the targets' losses; 0: none
  double temperature = 1;
  ContrastTotals* totals = nullptr;  // added to; may be null
};

struct PassOptions {
  /// Neither is automatic: plan_pass (layers/pass_plan.h) has decided.
  Schedule schedule = Schedule::parallel;
  Recompute recompute = Recompute::none;
  /// Gradients are those of loss_scale times the weighted sum of losses.
  double loss_scale = 1.0;
  /// Receives the time of each operator family, if given.
  OperatorProfile* profile = nullptr;
  ParameterEvents events = {};
  /// Answers of the batch (TokenBatch::answers) are added here, of ranks that share a sequence each its own. May be
  /// null.
  AnswerCounts* answers = nullptr;
  /// And its tokens to the total of their source (TokenBatch::sources), of which there has to be one. May be null.
  std::vector<SourceTotals>* sources = nullptr;
  Distillation distillation = {};
  Contrast contrast = {};
  /// The ranks that share each sequence, if there are several: every one passes the whole batch and works
  /// on its run of segments, all at once (the parallel schedule).
  Communicator* sequence_ranks = nullptr;
  /// Whether they compute while the memory's states travel between them, with the same bits.
  bool overlap_memory = true;
};

}  // namespace palimpsest
