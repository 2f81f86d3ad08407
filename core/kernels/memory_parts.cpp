#include "core/kernels/memory_parts.h"

#include <algorithm>
#include <utility>

#include "core/kernels/memory_tiles.h"
#include "core/matmul.h"
#include "core/round_up.h"

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
std::int64_t start_near(std::int64_t token, std::int64_t tokens, std::int64_t tile, std::int64_t least) {
  const std::int64_t start = round_up(token, least), next_tile = (start / tile + 1) * tile;
  if (start >= tokens) return tokens;
  return start % tile != 0 && std::min(next_tile, tokens) - start < least ? std::min(next_tile, tokens) : start;
}

}  // namespace

std::int64_t longest_segment(const SequenceLayout& layout) {
  std::int64_t longest = 0;
  for (const Segment& segment : layout.segments) longest = std::max(longest, segment.length);
  return longest;
}

std::int64_t least_run(std::int64_t d) {
  const auto kind = [&](std::int64_t rows) {
    const auto of = [&](DataType type) {
      const ConstMatrix tokens{nullptr, type, rows, d, d, 1}, matrix{nullptr, type, d, d, d, 1};
      return std::pair(product_kind(tokens, matrix), product_kind(tokens, matrix.transposed()));
    };
    return std::pair(of(DataType::float32), of(DataType::bfloat16));
  };
  std::int64_t rows = least_rows;
  while (rows < tile_rows && kind(rows) != kind(tile_rows)) rows *= 2;
  return rows;
}

Range run_of_tokens(std::int64_t tokens, std::int64_t tile, std::int64_t part, std::int64_t parts, std::int64_t least) {
  const auto start = [&](std::int64_t index) {
    return index == 0 ? 0 : index == parts ? tokens : start_near(tokens * index / parts, tokens, tile, least);
  };
  return {start(part), start(part + 1)};
}

int threads_for_parts(DataType type, std::int64_t d) {
  const ConstMatrix rows{nullptr, type, least_rows, d, d, 1}, columns{nullptr, type, d, least_columns, d, 1};
  const ProductKind kind = product_kind(rows, columns);
  return kind == ProductKind::onednn || kind == ProductKind::widened ? 1 : omp_get_max_threads();
}

std::int64_t runs_for(std::int64_t tasks, std::int64_t tokens, int threads, std::int64_t least) {
  std::int64_t runs = 1;
  while (!even(tasks * runs, threads) && 2 * runs * least <= tokens) runs *= 2;
  return runs;
}

MatrixBlocks blocks_for(std::int64_t tasks, std::int64_t d, int threads) {
  MatrixBlocks blocks{d};
  if (d % (2 * least_columns) != 0 || d < least_rows) return blocks;
  while (!even(tasks * blocks.count(), threads)) {
    if (d % (2 * blocks.across * least_columns) == 0) {
      blocks.across *= 2;
    } else if (d % (2 * blocks.down * least_rows) == 0) {
      blocks.down *= 2;
    } else {
      break;
    }
  }
  return blocks;
}

WriteParts::WriteParts(const SequenceLayout& layout, std::int64_t kv_heads, std::int64_t d, bool delta, Order order,
                       int threads)
    : layout_(layout),
      kv_heads_(kv_heads),
      tile_(tile_for(layout)),
      least_run_(least_run(d)),
      runs_(delta || order == Order::backwards ? runs_for(heads(), longest_segment(layout), threads, least_run_) : 1),
      blocks_(delta || order == Order::forwards ? blocks_for(heads(), d, threads) : MatrixBlocks{d}),
      order_(order),
      together_(delta && runs_ * blocks_.count() > 1) {}

WrittenHead WriteParts::head(std::int64_t index, std::int64_t slot) const {
  const std::int64_t lane = index / kv_heads_;
  return {index, lane, index % kv_heads_, slot, layout_.segment(lane, slot)};
}

Range WriteParts::run(const WrittenHead& at, std::int64_t index) const {
  return run_of_tokens(at.tokens(), tile_, index, runs_, least_run_);
}

std::int64_t WriteParts::kept_rows() const { return together_ ? padded(longest_segment(layout_)) : tile_; }

ReadParts::ReadParts(const SequenceLayout& layout, std::int64_t kv_heads, std::int64_t d, int threads)
    : layout_(layout),
      kv_heads_(kv_heads),
      tile_(tile_for_reads(layout)),
      least_run_(least_run(d)),
      runs_(runs_for(heads(), longest_segment(layout), threads, least_run_)) {}

ReadPart ReadParts::head(std::int64_t task) const {
  const std::int64_t slots = layout_.segments_per_lane, slot = task / kv_heads_ % slots;
  const std::int64_t lane = task / kv_heads_ / slots;
  return {lane, slot, task % kv_heads_, {0, layout_.segment(lane, slot).carried}, true};
}

ReadPart ReadParts::part(std::int64_t task) const {
  ReadPart part = head(task / runs_);
  part.tokens = run_of_tokens(part.tokens.end, tile_, task % runs_, runs_, least_run_);
  part.last = task % runs_ == runs_ - 1;
  return part;
}

std::vector<double> memory_read_forward_shares(const MemoryShape& shape, int threads) {
  const ReadParts parts(shape.layout, shape.kv_heads, shape.head_size, threads);
  std::vector<double> work;
  for (std::int64_t task = 0; task < parts.count(); ++task) {
    work.push_back(
        static_cast<double>(parts.part(task).tokens.count() * shape.group * shape.head_size * shape.head_size));
  }
  return shared_out(work, threads);
}

std::vector<double> memory_read_backward_shares(const MemoryShape& shape, int threads) {
  const ReadParts parts(shape.layout, shape.kv_heads, shape.head_size, threads);
  std::vector<double> shares = memory_read_forward_shares(shape, threads);  // of queries
  const MatrixBlocks blocks =
      parts.whole() ? MatrixBlocks{shape.head_size} : blocks_for(parts.heads(), shape.head_size, threads);
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

namespace {

/// `of_tokens` products of a token's row and a head's matrix, and `of_sums` of what is summed over tokens.
std::vector<double> memory_write_shares(const MemoryShape& shape, bool delta, Order order, double of_tokens,
                                        double of_sums, int threads) {
  const std::int64_t d = shape.head_size;
  const WriteParts parts(shape.layout, shape.kv_heads, d, delta, order, threads);
  std::vector<double> shares(static_cast<std::size_t>(threads), 0.0);
  const auto add = [&](std::int64_t tasks, auto work_of) {
    std::vector<double> work;
    for (std::int64_t task = 0; task < tasks; ++task) work.push_back(work_of(task));
    std::ranges::transform(shares, shared_out(work, threads), shares.begin(), std::plus<>());
  };
  for (std::int64_t slot = 0; slot < shape.layout.segments_per_lane; ++slot) {
    add(parts.heads() * parts.runs(), [&](std::int64_t task) {
      const WrittenHead at = parts.head(task / parts.runs(), slot);
      return of_tokens * static_cast<double>(parts.run(at, task % parts.runs()).count() * d * d);
    });
    const MatrixBlocks& blocks = parts.blocks();
    add(parts.heads() * blocks.count(), [&](std::int64_t task) {
      const std::int64_t block = task % blocks.count(), tokens = parts.head(task / blocks.count(), slot).tokens();
      return of_sums * static_cast<double>(tokens * blocks.rows(block).count() * blocks.columns(block).count());
    });
  }
  return shares;
}

}  // namespace

std::vector<double> memory_write_forward_shares(const MemoryShape& shape, bool delta, int threads) {
  return memory_write_shares(shape, delta, Order::forwards, delta ? 1 : 0, 1, threads);
}

std::vector<double> memory_write_backward_shares(const MemoryShape& shape, bool delta, int threads) {
  return memory_write_shares(shape, delta, Order::backwards, delta ? 4 : 2, delta ? 1 : 0, threads);
}

}  // namespace palimpsest::memory_tiles
