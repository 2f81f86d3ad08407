// Products by oneDNN, for what our own kernels do not take well, and what oneDNN knows of the machine.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/matrix.h"
#include "core/storage.h"

namespace palimpsest::products {

/// c <- a b, or c <- c + a b: float32 -> float32, or, where onednn_has_bfloat16(), bfloat16 -> bfloat16 or float32, no
/// extent zero. On `threads` OpenMP threads, or on the calling one inside a parallel region. Throws std::bad_alloc.
void onednn_product(MemoryPool& pool, const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, Output output,
                    int threads);

/// Bytes of scratch memory that it takes from the pool; the operands' data are not looked at.
std::int64_t onednn_product_bytes(const ConstMatrix& a, const ConstMatrix& b, const Matrix& c, int threads);

/// Whether it has instructions for bfloat16; without, it has no product of them, or a slow one.
bool onednn_has_bfloat16();

/// Whether it uses matrix units (AMX): the machine has them, and DNNL_MAX_CPU_ISA does not keep them out.
bool onednn_uses_matrix_units();

/// How wide the vectors are that it uses.
int onednn_vector_bytes();

/// What oneDNN calls the instructions that it uses, like "avx512_core_amx".
std::string_view onednn_instructions();

}  // namespace palimpsest::products
