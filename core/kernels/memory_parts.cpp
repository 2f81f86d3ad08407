#include "core/kernels/memory_parts.h"

#include <algorithm>

#include "core/kernels/memory_tiles.h"
#include "core/matmul.h"

namespace palimpsest::memory_tiles {

namespace {

constexpr std::int64_t least_rows = 32, least_columns = 16;  // of a product that our own kernels compute
constexpr double even_enough = 1.12;                         // the busiest thread's work, by the mean

/// Whether the busiest of the threads gets little more than the mean of so many equal tasks.
bool even(std::int64_t tasks, int threads) {
  const std::int64_t most = (tasks + threads - 1) / threads;
  return static_cast<double>(most * threads) <= even_enough * static_cast<double>(tasks);
}

/// The first token not before `token` that a run may begin with.
std::int64_t start_near(std::int64_t token, std::int64_t tokens, std::int64_t tile) {
  const std::int64_t start = (token + least_rows - 1) / least_rows * least_rows;
  const std::int64_t next_tile = (start / tile + 1) * tile;
  if (start >= tokens) return tokens;
  return start % tile != 0 && std::min(next_tile, tokens) - start < least_rows ? std::min(next_tile, tokens) : start;
}

}  // namespace

std::int64_t longest_segment(const SequenceLayout& layout) {
  std::int64_t longest = 0;
  for (const Segment& segment : layout.segments) longest = std::max(longest, segment.length);
  return longest;
}

Range run_of_tokens(std::int64_t tokens, std::int64_t tile, std::int64_t part, std::int64_t parts) {
  const auto start = [&](std::int64_t index) {
    return index == 0 ? 0 : index == parts ? tokens : start_near(tokens * index / parts, tokens, tile);
  };
  return {start(part), start(part + 1)};
}

int threads_for_parts(DataType type, std::int64_t d) {
  const ConstMatrix rows{nullptr, type, least_rows, d, d, 1}, columns{nullptr, type, d, least_columns, d, 1};
  return product_kind(rows, columns) == ProductKind::onednn ? 1 : omp_get_max_threads();
}

std::int64_t runs_for(std::int64_t tasks, std::int64_t tokens, int threads) {
  std::int64_t runs = 1;
  while (!even(tasks * runs, threads) && 2 * runs * least_rows <= tokens) runs *= 2;
  return runs;
}

MatrixBlocks blocks_for(std::int64_t tasks, std::int64_t d, bool whole_columns, int threads) {
  MatrixBlocks blocks{d};
  if (d % (2 * least_columns) != 0 || d < least_rows) return blocks;
  while (!even(tasks * blocks.count(), threads)) {
    if (d % (2 * blocks.across * least_columns) == 0) {
      blocks.across *= 2;
    } else if (!whole_columns && d % (2 * blocks.down * least_rows) == 0) {
      blocks.down *= 2;
    } else {
      break;
    }
  }
  return blocks;
}

ReadParts::ReadParts(const SequenceLayout& layout, std::int64_t kv_heads, std::int64_t tile, int threads)
    : layout_(layout), kv_heads_(kv_heads), tile_(tile), runs_(runs_for(heads(), longest_segment(layout), threads)) {}

ReadPart ReadParts::head(std::int64_t task) const {
  const std::int64_t slots = layout_.segments_per_lane, slot = task / kv_heads_ % slots;
  const std::int64_t lane = task / kv_heads_ / slots;
  return {lane, slot, task % kv_heads_, {0, layout_.segment(lane, slot).carried}, true};
}

ReadPart ReadParts::part(std::int64_t task) const {
  ReadPart part = head(task / runs_);
  part.tokens = run_of_tokens(part.tokens.end, tile_, task % runs_, runs_);
  part.last = task % runs_ == runs_ - 1;
  return part;
}

std::vector<double> memory_read_forward_shares(const MemoryShape& shape, int threads) {
  const ReadParts parts(shape.layout, shape.kv_heads, tile_for_reads(shape.layout), threads);
  std::vector<double> work;
  for (std::int64_t task = 0; task < parts.count(); ++task) {
    work.push_back(
        static_cast<double>(parts.part(task).tokens.count() * shape.group * shape.head_size * shape.head_size));
  }
  return shared_out(work, threads);
}

std::vector<double> memory_read_backward_shares(const MemoryShape& shape, int threads) {
  const ReadParts parts(shape.layout, shape.kv_heads, tile_for_reads(shape.layout), threads);
  std::vector<double> shares = memory_read_forward_shares(shape, threads);  // of queries
  const MatrixBlocks blocks =
      parts.whole() ? MatrixBlocks{shape.head_size} : blocks_for(parts.heads(), shape.head_size, false, threads);
  std::vector<double> work;
  for (std::int64_t task = 0; task < parts.heads() * blocks.count(); ++task) {
    const std::int64_t block = task % blocks.count();
    work.push_back(static_cast<double>(parts.head(task / blocks.count()).tokens.count() * shape.group *
                                       blocks.rows(block).count() * blocks.columns(block).count()));
  }
  const std::vector<double> of_states = shared_out(work, threads);
  std::ranges::transform(shares, of_states, shares.begin(), std::plus<>());
  return shares;
}

std::vector<double> memory_write_forward_shares(const MemoryShape& shape, bool delta, int threads) {
  const std::int64_t heads = shape.layout.lanes * shape.kv_heads;
  const MatrixBlocks blocks = blocks_for(heads, shape.head_size, delta, threads);
  std::vector<double> work;
  for (std::int64_t task = 0; task < heads * blocks.count(); ++task) {
    const std::int64_t lane = task / blocks.count() / shape.kv_heads, block = task % blocks.count();
    double tokens = 0;
    for (std::int64_t slot = 0; slot < shape.layout.segments_per_lane; ++slot) {
      const Segment& segment = shape.layout.segment(lane, slot);
      tokens += static_cast<double>(segment.length - segment.kept);
    }
    work.push_back(tokens * static_cast<double>(blocks.rows(block).count() * blocks.columns(block).count()));
  }
  return shared_out(work, threads);
}

std::vector<double> memory_write_backward_shares(const MemoryShape& shape, int threads) {
  const std::int64_t heads = shape.layout.lanes * shape.kv_heads, tile = tile_for(shape.layout);
  const std::int64_t runs = runs_for(heads, longest_segment(shape.layout), threads);
  std::vector<double> work;
  for (std::int64_t task = 0; task < heads * runs; ++task) {
    const std::int64_t lane = task / runs / shape.kv_heads;
    double tokens = 0;
    for (std::int64_t slot = 0; slot < shape.layout.segments_per_lane; ++slot) {
      const Segment& segment = shape.layout.segment(lane, slot);
      tokens += static_cast<double>(run_of_tokens(segment.length - segment.kept, tile, task % runs, runs).count());
    }
    work.push_back(tokens * 2 * static_cast<double>(shape.head_size * shape.head_size));
  }
  return shared_out(work, threads);
}

}  // namespace palimpsest::memory_tiles
