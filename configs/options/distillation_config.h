// Learning from a frozen model that sees further than the memory has to reach.
#pragma once

#include <cstdint>
#include <string>

#include "layers/model_config.h"

namespace palimpsest {

struct DistillationConfig {
  double share = 0;     // of the divergence from the teacher in the loss; 0: there is no teacher
  std::string teacher;  // a run, a checkpoint or a Hugging Face folder; empty: train.initial_weights
  AttentionKind attention = AttentionKind::full;  // the teacher's: full or local
  std::int64_t window = 0;                        // tokens of its segments, of local; 0: model.segment_length

  bool teaches() const { return share > 0; }
};

}  // namespace palimpsest
