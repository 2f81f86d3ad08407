// The loop nest of our own matrix products, around the micro-kernel of a policy. From outside in:
//   columns of c, as many as keep the packed right operand small: all of it is packed, by all threads
//     rows of c, or rows and panels of columns where there are more threads than rows for them: a thread's share in
//     blocks of rows
//       chunks of the inner dimension: the kernel multiplies the block's rows with the chunk's panels
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <omp.h>

#include "core/matrix.h"
#include "core/products/chunks.h"
#include "core/storage.h"
#include "core/work_shares.h"

namespace palimpsest::products {

/// The rows and columns of c that a thread works on at a time.
struct Block {
  std::int64_t row, rows;
  std::int64_t column, columns, panels;
};

/// A chunk of the inner dimension and where its packed panels stand; null where the kernel takes them where they lie.
template <class Packed>
struct PackedChunk {
  std::int64_t begin, extent;
  bool first, last;
  const Packed* panels;
  std::int64_t panel_size;  // elements from panel to panel
};

/// How threads share the rows and panels of what is multiplied between two packings: in a grid of equal cells, one a
/// thread, of which the last may be smaller or empty. No bit of the result depends on it.
class ThreadGrid {
 public:
  /// `units`: of rows, which a cell has whole numbers of.
  ThreadGrid(std::int64_t units, std::int64_t panels, int threads) : units_(units), panels_(panels) {
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (std::int64_t across = 1; across <= std::min<std::int64_t>(threads, panels); ++across) {
      const std::int64_t down = threads / across;
      const std::int64_t cell = ceil(units, down) * ceil(panels, across);
      if (cell + cell / 16 >= least) continue;  // panels shared out cost a copy of the rows each
      least = cell;
      across_ = across;
      down_ = down;
    }
  }

  struct Cell {
    std::int64_t unit, units, panel, panels;
    std::int64_t size() const { return units * panels; }
  };
  Cell cell(int thread) const {
    const Run rows = run(units_, down_, thread / across_), columns = run(panels_, across_, thread % across_);
    return {rows.begin, rows.count, columns.begin, columns.count};
  }

 private:
  struct Run {
    std::int64_t begin, count;
  };
  static std::int64_t ceil(std::int64_t count, std::int64_t parts) { return (count + parts - 1) / parts; }
  static Run run(std::int64_t count, std::int64_t parts, std::int64_t part) {
    const std::int64_t each = ceil(count, parts), begin = std::min(part * each, count);
    return {begin, std::min(each, count - begin)};
  }

  std::int64_t units_, panels_, across_ = 1, down_ = 1;
};

/// How a product is cut and what memory that takes.
///
/// A Kernel, of a, b, c and an addend, has
///   Packed                                    the elements of packed operands
///   share_rows, panel_columns                 what a thread's share of rows is a multiple of, columns of a panel
///   rows_at_once(right's bytes, chunks)       rows of a block
///   most_chunk, inner_step                    of the inner dimension: a chunk's extent, and what it is a multiple of
///   least_panels, most_panels, most_packed    panels of the right operand packed at a time, and their bytes
///   panel_size(length), left_size(length)     elements of a packed panel, and of a block's packed rows, of a chunk
///   sums_size(chunks, panels)                 floats that a thread needs between chunks
///   takes_right_in_place(), pack_panel(chunk's begin and extent, column, columns, target)
///   Registers                                 what a thread sets up for the time of the product
///   multiply(block, chunk, packed left, sums) the last chunk's brings c up to date
template <class Kernel>
struct Blocking {
  Chunks chunks;
  std::int64_t panel_size, panels, panels_at_once;
  std::int64_t right_bytes, left_bytes, sums_bytes;  // of all threads; of each; of each

  Blocking(const Kernel& kernel, const ConstMatrix& b)
      : chunks(b.rows, Kernel::most_chunk, Kernel::inner_step),
        panel_size(Kernel::panel_size(chunks.length)),
        panels((b.columns + Kernel::panel_columns - 1) / Kernel::panel_columns) {
    using Packed = typename Kernel::Packed;
    const std::int64_t bytes = chunks.count * panel_size * static_cast<std::int64_t>(sizeof(Packed));
    panels_at_once =
        std::min(panels, std::clamp(Kernel::most_packed / bytes, Kernel::least_panels, Kernel::most_panels));
    right_bytes = kernel.takes_right_in_place() ? 0 : round_up(bytes * panels_at_once, line);
    left_bytes = round_up(Kernel::left_size(chunks.length) * static_cast<std::int64_t>(sizeof(Packed)), line);
    sums_bytes = round_up(kernel.sums_size(chunks, panels_at_once) * static_cast<std::int64_t>(sizeof(float)), line);
  }

  /// A thread's part of `rows` rows and of the panels from `column` on, `columns` columns in all; `panel`: the first of
  /// its panels. May be empty.
  struct Share {
    Block block;
    std::int64_t panel;
  };
  static Share share(std::int64_t rows, std::int64_t column, std::int64_t columns, int threads, int thread) {
    const std::int64_t units = (rows + Kernel::share_rows - 1) / Kernel::share_rows;
    const ThreadGrid::Cell cell = ThreadGrid(units, panels_of(columns), threads).cell(thread);
    const std::int64_t row = cell.unit * Kernel::share_rows, first = cell.panel * Kernel::panel_columns;
    return {{row, std::max<std::int64_t>(0, std::min(cell.units * Kernel::share_rows, rows - row)), column + first,
             std::max<std::int64_t>(0, std::min(cell.panels * Kernel::panel_columns, columns - first)), cell.panels},
            cell.panel};
  }

  /// In how many pieces a chunk of a panel is packed, so that there are some for every thread.
  std::int64_t cuts(std::int64_t panels, int threads) const {
    const std::int64_t most = std::max<std::int64_t>(chunks.length / (4 * Kernel::inner_step), 1);
    return threads == 1 ? 1 : std::clamp<std::int64_t>(4 * threads / (panels * chunks.count), 1, most);
  }

  /// What is packed at a time of `columns` columns in `panels` panels, each chunk of which is cut into `cuts`: elements
  /// [begin, begin + extent) of a chunk's and [column, column + columns) of the panel at a place. May be empty.
  struct Piece {
    std::int64_t place, chunk, begin, extent, column, columns;
  };
  Piece piece(std::int64_t columns, std::int64_t panels, std::int64_t cuts, std::int64_t index) const {
    const std::int64_t cut = index % cuts, place = index / cuts, chunk = place / panels;
    const std::int64_t step = round_up((chunks.length + cuts - 1) / cuts, Kernel::inner_step), begin = cut * step;
    const std::int64_t column = place % panels * Kernel::panel_columns;
    return {place,  chunk,
            begin,  std::max<std::int64_t>(std::min(step, chunks.extent(chunk) - begin), 0),
            column, std::min(Kernel::panel_columns, columns - column)};
  }

  static std::int64_t panels_of(std::int64_t columns) {
    return (columns + Kernel::panel_columns - 1) / Kernel::panel_columns;
  }
  /// Calls function(column, columns, panels) for the columns of b that are packed at a time.
  template <class Function>
  void for_columns(const ConstMatrix& a, const ConstMatrix& b, int threads, Function function) const {
    const std::int64_t most = even_panels(a.rows, threads) * Kernel::panel_columns;
    for (std::int64_t column = 0; column < b.columns; column += most) {
      const std::int64_t columns = std::min(most, b.columns - column);
      function(column, columns, panels_of(columns));
    }
  }

  std::int64_t bytes(int threads) const { return right_bytes + threads * (left_bytes + sums_bytes); }

  static constexpr std::int64_t line = 64;  // of a cache

 private:
  /// As many panels at once as there may be, or some fewer that keep the threads noticeably more evenly busy.
  std::int64_t even_panels(std::int64_t rows, int threads) const {
    if (threads == 1) return panels_at_once;
    const std::int64_t units = (rows + Kernel::share_rows - 1) / Kernel::share_rows;
    const auto busiest = [&](std::int64_t at_once) {
      const auto cell = [&](std::int64_t count) {
        return count == 0 ? 0 : ThreadGrid(units, count, threads).cell(0).size();
      };
      return panels / at_once * cell(at_once) + cell(panels % at_once);
    };
    std::int64_t best = panels_at_once, least = busiest(best);
    const std::int64_t fewest = std::max<std::int64_t>({panels_at_once / 2, panels_at_once - 16, 1});
    for (std::int64_t at_once = panels_at_once - 1; at_once >= fewest; --at_once) {
      if (least * threads <= units * panels * 17 / 16) break;
      const std::int64_t own = busiest(at_once);
      if (own + own / 16 < least) {
        best = at_once;
        least = own;
      }
    }
    return best;
  }
};

/// c <- addend + a b on `threads` OpenMP threads, or on the calling one inside a parallel region. `addend`: of c's
/// extents and type, may be c, or without data. Each element of c is summed in one order, whatever their number. All
/// memory is taken before the threads start.
template <class Kernel>
void blocked_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c,
                     const ConstMatrix& addend, int threads) {
  using Packed = typename Kernel::Packed;
  const Kernel kernel(a, b, c, addend);
  const Blocking<Kernel> blocking(kernel, b);
  const MemoryPool::Scratch scratch = pool.scratch(blocking.bytes(threads), omp_get_thread_num());
  const bool in_place = kernel.takes_right_in_place();
  auto* const packed = reinterpret_cast<Packed*>(scratch.data());
  const Chunks& chunks = blocking.chunks;
  const std::int64_t panel_size = blocking.panel_size;
  const std::int64_t block_rows = kernel.rows_at_once(blocking.right_bytes, chunks);

  const auto pack = [&](std::int64_t column, std::int64_t columns, std::int64_t panels, std::int64_t cuts,
                        std::int64_t index) {
    const auto piece = blocking.piece(columns, panels, cuts, index);
    if (piece.extent == 0) return;
    kernel.pack_panel(chunks.begin(piece.chunk) + piece.begin, piece.extent, column + piece.column, piece.columns,
                      packed + piece.place * panel_size + (piece.begin == 0 ? 0 : Kernel::panel_size(piece.begin)));
  };
  const auto multiply_share = [&](std::int64_t column, std::int64_t columns, std::int64_t panels, int thread) {
    std::byte* const own = scratch.data() + blocking.right_bytes + thread * (blocking.left_bytes + blocking.sums_bytes);
    auto* const left = reinterpret_cast<Packed*>(own);
    auto* const sums = reinterpret_cast<float*>(own + blocking.left_bytes);
    const auto [share, first_panel] = blocking.share(a.rows, column, columns, threads, thread);
    if (share.columns == 0) return;
    for (std::int64_t row = 0; row < share.rows; row += block_rows) {
      const Block block{share.row + row, std::min(block_rows, share.rows - row), share.column, share.columns,
                        share.panels};
      for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) {
        const Packed* const right = in_place ? nullptr : packed + (chunk * panels + first_panel) * panel_size;
        kernel.multiply(block,
                        PackedChunk<Packed>{chunks.begin(chunk), chunks.extent(chunk), chunk == 0,
                                            chunk + 1 == chunks.count, right, panel_size},
                        left, sums);
      }
    }
  };

  if (threads == 1) {  // a parallel region of one thread costs what a small product does
    [[maybe_unused]] const typename Kernel::Registers registers;
    blocking.for_columns(a, b, threads, [&](std::int64_t column, std::int64_t columns, std::int64_t panels) {
      for (std::int64_t piece = 0; !in_place && piece < panels * chunks.count; ++piece) {
        pack(column, columns, panels, 1, piece);
      }
      multiply_share(column, columns, panels, 0);
    });
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    [[maybe_unused]] const typename Kernel::Registers registers;
    blocking.for_columns(a, b, threads, [&](std::int64_t column, std::int64_t columns, std::int64_t panels) {
      if (!in_place) {
        const std::int64_t cuts = blocking.cuts(panels, threads);
#pragma omp for schedule(static)
        for (std::int64_t piece = 0; piece < panels * chunks.count * cuts; ++piece) {
          pack(column, columns, panels, cuts, piece);
        }
      }
#pragma omp for schedule(static)
      for (int thread = 0; thread < threads; ++thread) multiply_share(column, columns, panels, thread);
    });
  }
}

/// Bytes of scratch memory that blocked_product takes on `threads` threads; nobody looks at the operands' data.
template <class Kernel>
std::int64_t blocked_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  return Blocking<Kernel>(Kernel(a, b, c, ConstMatrix()), b).bytes(threads);
}

/// What each thread does in such a product.
template <class Kernel>
ProductShares blocked_product_shares(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads) {
  ProductShares shares(threads);
  const Kernel kernel(a, b, c, ConstMatrix());
  const Blocking<Kernel> blocking(kernel, b);
  blocking.for_columns(a, b, threads, [&](std::int64_t column, std::int64_t columns, std::int64_t panels) {
    for (int thread = 0; thread < threads; ++thread) {
      const Block block = blocking.share(a.rows, column, columns, threads, thread).block;
      shares.multiplications[static_cast<std::size_t>(thread)] +=
          static_cast<double>(block.rows * block.columns * a.columns);
    }
    if (kernel.takes_right_in_place()) return;
    const std::int64_t cuts = blocking.cuts(panels, threads);
    std::vector<double> pieces;
    for (std::int64_t index = 0; index < panels * blocking.chunks.count * cuts; ++index) {
      const auto piece = blocking.piece(columns, panels, cuts, index);
      pieces.push_back(static_cast<double>(piece.extent * piece.columns));
    }
    add_shares(shared_out(pieces, threads), shares.packed);
  });
  return shares;
}

}  // namespace palimpsest::products
