// How the threads share reads and writes of the memory: by lanes and heads, and where these are too few for the
// threads, by runs of tokens or blocks of a head's matrix. Products and sums of a part are those of the whole, element
// by element in the same order and by the same kernels, so no bit of a result depends on it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <omp.h>

#include "core/data_type.h"
#include "core/parallel.h"
#include "core/sequence_layout.h"
#include "core/work_shares.h"

namespace palimpsest::memory_tiles {

/// [begin, end)
struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t count() const { return end - begin; }
};

/// Run `part` of `parts` of `tokens` tokens that are computed in tiles of `tile`: none begins within the last rows of a
/// tile, since another kernel takes products of so few. May be empty.
Range run_of_tokens(std::int64_t tokens, std::int64_t tile, std::int64_t part, std::int64_t parts);

/// The first tile of a run of tokens, and the one after `tile_before`: cut where the whole is. Empty at the end.
inline Range first_tile(const Range& run, std::int64_t tile) {
  return {run.begin, std::min(run.end, (run.begin / tile + 1) * tile)};
}
inline Range next_tile(const Range& run, std::int64_t tile, const Range& tile_before) {
  return first_tile({tile_before.end, run.end}, tile);
}

/// Blocks of a (d, d) matrix: `down` times `across` of them, not too small for the kernel of its products.
struct MatrixBlocks {
  std::int64_t d, down = 1, across = 1;

  std::int64_t count() const { return down * across; }
  Range rows(std::int64_t block) const { return of(block / across, down); }
  Range columns(std::int64_t block) const { return of(block % across, across); }

 private:
  Range of(std::int64_t index, std::int64_t parts) const { return {index * (d / parts), (index + 1) * (d / parts)}; }
};

/// Among how many threads parts may be shared out: one where they would be other products of oneDNN, whose bits would
/// depend on them.
int threads_for_parts(DataType type, std::int64_t d);

/// How many runs of tokens each of `tasks` equal tasks of up to `tokens` tokens is cut into: as few as keep all threads
/// about equally busy.
std::int64_t runs_for(std::int64_t tasks, std::int64_t tokens, int threads);

/// How each of `tasks` (d, d) matrices is cut: as little as keeps all threads about equally busy. `whole_columns`: no
/// block has less than whole columns.
MatrixBlocks blocks_for(std::int64_t tasks, std::int64_t d, bool whole_columns, int threads);

/// Calls function(task) for each of `count`, in parallel, each thread a run of them.
template <class Function>
void for_each_task(std::int64_t count, Function function) {
  FirstError error;
#pragma omp parallel
  {
    const TaskRange own = tasks_of(count, omp_get_thread_num(), omp_get_num_threads());
    for (std::int64_t task = own.begin; task < own.end; ++task) error.keep([&] { function(task); });
  }
  error.rethrow();
}

/// One thread's work of reading: tokens of a segment that read it and one key/value head.
struct ReadPart {
  std::int64_t lane, slot, kv_head;
  Range tokens;  // of the segment
  bool last;     // run of the segment
};

/// How reading is shared out.
class ReadParts {
 public:
  ReadParts(const SequenceLayout& layout, std::int64_t kv_heads, std::int64_t tile, int threads);

  std::int64_t count() const { return heads() * runs_; }
  std::int64_t heads() const { return layout_.lanes * layout_.segments_per_lane * kv_heads_; }
  bool whole() const { return runs_ == 1; }
  ReadPart part(std::int64_t task) const;
  /// All tokens, for the blocks of a state.
  ReadPart head(std::int64_t task) const;

 private:
  const SequenceLayout& layout_;
  std::int64_t kv_heads_, tile_, runs_;
};

std::int64_t longest_segment(const SequenceLayout& layout);

/// Multiplications of each thread's products: of reading forward, of its gradients (of queries and states), of writing
/// forward, and of the linear rule's gradients. `group`: query heads of a key/value head.
struct MemoryShape {
  const SequenceLayout& layout;
  std::int64_t kv_heads, group, head_size;
};
std::vector<double> memory_read_forward_shares(const MemoryShape& shape, int threads);
std::vector<double> memory_read_backward_shares(const MemoryShape& shape, int threads);
std::vector<double> memory_write_forward_shares(const MemoryShape& shape, bool delta, int threads);
std::vector<double> memory_write_backward_shares(const MemoryShape& shape, int threads);

}  // namespace palimpsest::memory_tiles
