// When checkpoints are written and which are kept (launch/checkpoint/).
#pragma once

#include <cstdint>

namespace palimpsest {

/// What becomes of training when a checkpoint could not be saved.
enum class OnFailure { go_on, stop };

struct CheckpointConfig {
  std::int64_t every = 500;     // steps between checkpoints; one is always written at the end
  std::int64_t keep_last = 3;   // 0: all
  std::int64_t keep_every = 0;  // those of a multiple of so many steps stay for ever; 0: none
  bool asynchronous = true;     // training goes on while one is written
  OnFailure on_failure = OnFailure::go_on;
};

}  // namespace palimpsest
