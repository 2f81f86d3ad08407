// Matrix products. Which of those in core/products/ takes one is decided here, by types, extents and the machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/matrix.h"
#include "core/storage.h"

namespace palimpsest {

/// c <- a b, or c <- c + a b. Types: float32 x float32 -> float32, bfloat16 x bfloat16 -> bfloat16
/// or float32, float64 x float64 -> float64; sums run in float32 (float64). Uses all OpenMP threads,
/// or only the calling one when called inside a parallel region. An inner extent of zero gives zero.
/// The same shapes and strides give the same bits, whatever the number of threads. c must not overlap a or b. Packed
/// operands stand in the pool's scratch memory. Throws ShapeError on a mismatch, std::bad_alloc when there is no memory
/// left.
void matmul(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c,
            Output output = Output::overwrite);

/// c <- addend + a b, with the bits that a copy of the addend in c would get from Output::accumulate; a plain addend of
/// c's extents and type, which c must not overlap either.
void matmul_added(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const ConstMatrix& addend,
                  const Matrix& c);

/// Bytes of scratch memory that such a product takes from its pool, on as many threads as are set now. The operands'
/// data are not looked at.
std::int64_t matmul_scratch_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c);

/// What computes a product (core/products/).
enum class ProductKind { reference, row, few_rows, widened, vectors, matrix_units, onednn };

/// Which computes a b, for extents that are not zero: whatever the number of threads, since each sums in an order of
/// its own.
ProductKind product_kind(const ConstMatrix& a, const ConstMatrix& b);

/// The instructions by which results differ, those that oneDNN uses on this machine and those that this program was
/// built for, like "avx512_core_amx (built for avx512_bf16)": others give other bits.
std::string instruction_set();

/// Whether products run through matrix units (AMX): the build's target and the machine have them, and
/// DNNL_MAX_CPU_ISA does not keep them out.
bool matmul_uses_matrix_units();

/// Those that product_kind may choose for bfloat16 on this machine, with whatever extents.
std::vector<ProductKind> bfloat16_kinds();

/// Whether this machine multiplies bfloat16 matrices faster than float32 ones: native instructions, and every one of
/// bfloat16_kinds() agrees with float32, on one thread and on all. Where it does not, matmul of bfloat16 still works,
/// through float32 copies.
bool has_native_bfloat16();

}  // namespace palimpsest
