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

/// Of how many tokens the pieces of a tile are at least whose products, with a head's (d, d) matrix, the tile's kernel
/// takes: others take those of fewer rows.
std::int64_t least_run(std::int64_t d);

/// Run `part` of `parts` of `tokens` tokens that are computed in tiles of `tile`: of each tile it has at least `least`
/// tokens (a power of two), or all. May be empty.
Range run_of_tokens(std::int64_t tokens, std::int64_t tile, std::int64_t part, std::int64_t parts, std::int64_t least);

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

/// How many runs of tokens, of `least` or more, each of `tasks` equal tasks of up to `tokens` tokens is cut into: as
/// few as keep all threads about equally busy.
std::int64_t runs_for(std::int64_t tasks, std::int64_t tokens, int threads, std::int64_t least);

/// How each of `tasks` (d, d) matrices is cut: as little as keeps all threads about equally busy.
MatrixBlocks blocks_for(std::int64_t tasks, std::int64_t d, int threads);

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

/// A segment of a lane and a key/value head: `index` counts lanes and heads.
struct WrittenHead {
  std::int64_t index, lane, head, slot;
  const Segment& segment;

  std::int64_t first_row() const { return segment.begin + segment.kept; }  // of what it leaves in the memory
  std::int64_t tokens() const { return segment.length - segment.kept; }
};

/// The order of segments.
enum class Order { forwards, backwards };

/// One thread's work of writing a segment of a head: a run of tokens, a block of the matrix.
struct WritePart {
  std::int64_t run = 0, block = 0;
  bool first() const { return run == 0 && block == 0; }
};

/// How writing is shared out where lanes and heads are too few for the threads. Of the linear rule forward is cut into
/// blocks of a head's matrix, each of whose elements depends on nothing but itself, and backward into runs of tokens,
/// each with a dM of its own, which is no product. Of the delta rule all go from segment to segment together: first
/// what is computed token by token, in runs, then what is summed over tokens, in blocks.
class WriteParts {
 public:
  WriteParts(const SequenceLayout& layout, std::int64_t kv_heads, std::int64_t d, bool delta, Order order, int threads);

  bool together() const { return together_; }
  std::int64_t heads() const { return layout_.lanes * kv_heads_; }
  std::int64_t runs() const { return runs_; }
  const MatrixBlocks& blocks() const { return blocks_; }
  WrittenHead head(std::int64_t index, std::int64_t slot) const;
  /// Of the tokens that a segment leaves in the memory, counted from their first.
  Range run(const WrittenHead& at, std::int64_t index) const;
  std::int64_t tile() const { return tile_; }
  /// Rows of what is kept of a head's tokens between their runs and their sums: a tile's unless heads go `together`.
  std::int64_t kept_rows() const;
  /// Where what a head's parts share is kept: each thread has a place, or each head.
  std::int64_t places() const { return together_ ? heads() : omp_get_max_threads(); }
  std::int64_t place(const WrittenHead& at) const { return together_ ? at.index : omp_get_thread_num(); }

  /// Calls function(tile) for each tile of a run.
  template <class Function>
  void for_each_tile(const Range& run, Function function) const {
    for (Range t = first_tile(run, tile_); t.count() > 0; t = next_tile(run, tile_, t)) function(t);
  }

  /// Calls for each segment of each head, one after the other in their order, for each of its parts
  ///
  ///   kernel.begin(head, part), kernel.tokens(head, run, then), kernel.sums(head, tile, part), kernel.end(head, part)
  ///
  /// and around all kernel.start(head index) and kernel.finish(head index). `tokens` calls then(tile) for each
  /// tile of a run, which calls `sums`. Where heads go `together`, all of a segment's `tokens` come first.
  template <class Kernel>
  void for_each_segment(Kernel& kernel) const;

 private:
  const SequenceLayout& layout_;
  std::int64_t kv_heads_, tile_, least_run_, runs_;
  MatrixBlocks blocks_;
  Order order_;
  bool together_;
};

/// One thread's work of reading: tokens of a segment that read it and one key/value head.
struct ReadPart {
  std::int64_t lane, slot, kv_head;
  Range tokens;  // of the segment
  bool last;     // run of the segment
};

/// How reading is shared out.
class ReadParts {
 public:
  ReadParts(const SequenceLayout& layout, std::int64_t kv_heads, std::int64_t d, int threads);

  std::int64_t count() const { return heads() * runs_; }
  std::int64_t heads() const { return layout_.lanes * layout_.segments_per_lane * kv_heads_; }
  std::int64_t tile() const { return tile_; }
  bool whole() const { return runs_ == 1; }
  ReadPart part(std::int64_t task) const;
  /// All tokens, for the blocks of a state.
  ReadPart head(std::int64_t task) const;

 private:
  const SequenceLayout& layout_;
  std::int64_t kv_heads_, tile_, least_run_, runs_;
};

std::int64_t longest_segment(const SequenceLayout& layout);

template <class Kernel>
void WriteParts::for_each_segment(Kernel& kernel) const {
  const std::int64_t slots = layout_.segments_per_lane, blocks = blocks_.count();
  const auto slot_at = [&](std::int64_t step) { return order_ == Order::backwards ? slots - 1 - step : step; };
  if (!together_) {
    for_each_task(heads() * runs_ * blocks, [&](std::int64_t task) {
      const std::int64_t index = task / (runs_ * blocks);
      const WritePart part{task / blocks % runs_, task % blocks};
      kernel.start(index);
      for (std::int64_t step = 0; step < slots; ++step) {
        const WrittenHead at = head(index, slot_at(step));
        kernel.begin(at, part);
        kernel.tokens(at, run(at, part.run), [&](const Range& tile) { kernel.sums(at, tile, part); });
        kernel.end(at, part);
      }
      if (part.first()) kernel.finish(index);
    });
    return;
  }
  for_each_task(heads(), [&](std::int64_t index) { kernel.start(index); });
  for (std::int64_t step = 0; step < slots; ++step) {
    for_each_task(heads() * runs_, [&](std::int64_t task) {
      const WrittenHead at = head(task / runs_, slot_at(step));
      kernel.tokens(at, run(at, task % runs_), [](const Range&) {});
    });
    for_each_task(heads() * blocks, [&](std::int64_t task) {
      const WrittenHead at = head(task / blocks, slot_at(step));
      const WritePart part{0, task % blocks};
      kernel.begin(at, part);
      for_each_tile({0, at.tokens()}, [&](const Range& tile) { kernel.sums(at, tile, part); });
      kernel.end(at, part);
    });
  }
  for_each_task(heads(), [&](std::int64_t index) { kernel.finish(index); });
}

/// Multiplications of each thread's products: of reading forward, of its gradients (of queries and states), of writing
/// forward, and of its gradients. `group`: query heads of a key/value head.
struct MemoryShape {
  const SequenceLayout& layout;
  std::int64_t kv_heads, group, head_size;
};
std::vector<double> memory_read_forward_shares(const MemoryShape& shape, int threads);
std::vector<double> memory_read_backward_shares(const MemoryShape& shape, int threads);
std::vector<double> memory_write_forward_shares(const MemoryShape& shape, bool delta, int threads);
std::vector<double> memory_write_backward_shares(const MemoryShape& shape, bool delta, int threads);

}  // namespace palimpsest::memory_tiles
