// The state of a run that is not tensors: JSON in a checkpoint's manifest, so that a checkpoint
// alone is enough to resume, evaluate and generate.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/comm/communicator.h"
#include "core/io/state_dictionary.h"
#include "data/segment_stream.h"
#include "data/tokenizer.h"
#include "launch/checkpoint/checkpoint.h"
#include "layers/memory_state.h"

namespace palimpsest {

struct TrainingState {
  std::int64_t step = 0;                       // done
  std::int64_t optimizer_step = 0;             // updates; fewer than steps where some were skipped
  std::int64_t tokens = 0;                     // predicted
  std::int64_t skipped_steps = 0;              // because something was not finite, or of a loss spike
  std::int64_t consecutive_skips = 0;          // the last of these, if the last step was one
  std::vector<double> loss_window;             // by which the next losses are judged (launch/training/loss_spike.h)
  StreamCursor cursor;                         // position in the data
  std::vector<std::int64_t> memory_documents;  // per lane of the global batch; empty without carried memory
  std::string tokenizer_identity;
  std::string tokenizer_model;  // its bytes, if it has any
  int ranks = 1;
  int threads = 1;              // per rank
  std::string instruction_set;  // by which results differ, as core/gemm.h names it

  std::unique_ptr<Tokenizer> tokenizer() const { return make_tokenizer(tokenizer_identity, tokenizer_model); }
};

nlohmann::json to_json(const TrainingState& state);
/// Throws FileError, starting with the checkpoint's path, when a key is missing or of another type.
TrainingState training_state_of(const Checkpoint& checkpoint);

// The memory of every lane is stored on its own ("memory/lane-00012/layers.3/matrix"), so that another
// number of ranks can share the lanes otherwise. `memories` are those of a rank's micro batches, of
// equally many lanes each, `first_lane` is the first of them in the global batch.

/// The entries of this rank's lanes; they share the memories' tensors, so they serve for reading as well.
StateDictionary memory_entries(const std::vector<MemoryState>& memories, std::int64_t first_lane);
/// Which document every lane of the global batch has in memory. Collective.
std::vector<std::int64_t> gather_memory_documents(const std::vector<MemoryState>& memories, Communicator& communicator);
/// Which document every lane of `memories` has, from a state that was read. Throws FileError, starting with
/// `path`, when it has too few lanes.
void set_memory_documents(const TrainingState& state, const std::filesystem::path& path, std::int64_t first_lane,
                          std::vector<MemoryState>& memories);

}  // namespace palimpsest
