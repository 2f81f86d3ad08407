// A tile of queries goes past blocks of keys, the softmax's maximum and sum kept on the way (Milakov and Gimelshein
// 2018; Dao et al. 2022), so a (tokens, tokens) matrix never exists, and of what lies above the diagonal little is
// computed. What happens to a tile and a block is a pass's business: attention_forward.h and attention_backward.h by
// vectors, attention_units_*.h by matrix units.
#include "core/kernels/local_attention.h"

#include <algorithm>
#include <cassert>
#include <type_traits>

#include "core/kernels/attention_backward.h"
#include "core/kernels/attention_forward.h"
#include "core/kernels/attention_parts.h"
#include "core/kernels/attention_units_backward.h"
#include "core/kernels/attention_units_forward.h"
#include "core/matmul.h"

namespace palimpsest {

using namespace attention_tiles;

namespace {

/// Some of the spans see keys in front of their own.
bool spans_share_keys(const SequenceLayout& layout) {
  return std::ranges::any_of(layout.spans, [](const Span& span) { return span.keys_before > 0; });
}

/// Calls function(part) for each, the largest first.
template <class Function>
void for_each_part(const AttentionParts& parts, Function function) {
#pragma omp parallel for schedule(dynamic)
  for (std::size_t part = 0; part < parts.size(); ++part) function(parts[part]);
}

template <class Pass, class T>
void forward_by(MemoryPool& pool, const LocalAttentionInputs<T>& in, const LocalAttentionResult<T>& result) {
  const std::int64_t kv_heads = in.key.heads, group_heads = in.query.heads / kv_heads;
  Scratch scratch(pool, Pass::scratch_bytes(most_keys(in.layout), in.query.head_size));
  for_each_part(forward_parts(in.layout, kv_heads, omp_get_max_threads()), [&](const AttentionPart& part) {
    Span span = part.spans.front();
    span.length = part.end;  // later queries see more keys than these
    Pass pass(Scratch::Taker(scratch), in, span);
    pass.load_keys(part.kv_head);
    for (std::int64_t head = part.kv_head * group_heads; head < (part.kv_head + 1) * group_heads; ++head) {
      for (std::int64_t begin = part.begin; begin < part.end; begin += Pass::queries) {
        pass.load_queries(head, begin);
        for (std::int64_t first = 0; first < pass.keys(); first += block) {
          pass.add_block(first, std::min(first + block, pass.keys()));
        }
        pass.store_output(result, head);
      }
    }
  });
}

/// What backward adds for a span's queries from `first_query` on and the keys [first_key, last_key) that it sees. Keys
/// are loaded from a multiple of the pass's step on, so that tiles of them lie as in the whole span; sums of keys in
/// front of `first_key` are not stored.
template <class Pass, class T>
void backward_of(Scratch& scratch, const LocalAttentionInputs<T>& in, const LocalAttentionGradients<T>& gradients,
                 const Span& span, std::int64_t kv_head, Gradients which, std::int64_t first_query,
                 std::int64_t first_key, std::int64_t last_key) {
  const std::int64_t group_heads = in.query.heads / in.key.heads;
  const bool of_queries = which != Gradients::of_keys && gradients.d_query.wanted();
  const bool of_keys = which != Gradients::of_queries && (gradients.d_key.wanted() || gradients.d_value.wanted());
  if (!of_queries && !of_keys) return;
  Pass pass(Scratch::Taker(scratch), in, span, gradients);
  const std::int64_t from_key = first_key / Pass::key_step * Pass::key_step;
  pass.load_keys(kv_head, from_key, last_key, which);
  for (std::int64_t head = kv_head * group_heads; head < (kv_head + 1) * group_heads; ++head) {
    for (std::int64_t begin = first_query; begin < span.length; begin += Pass::queries) {
      pass.load_queries(head, begin);
      const std::int64_t end = std::min(pass.keys(), last_key);
      for (std::int64_t first = from_key; first < end; first += block) {
        const std::int64_t last = std::min(first + block, end);
        pass.score_block(first, last);
        if (of_keys) pass.add_to_key_gradients(first, last);
        if (of_queries) pass.add_to_query_gradients(first, last);
      }
      if (of_queries) pass.store_query_gradients(head);
    }
  }
  if (of_keys) pass.store_key_gradients(kv_head, first_key, last_key);
}

// dV = P^T dO;  dP = dO V^T;  dS = P (dP - rowsum(dO O)) / sqrt(d);  dR(Q) = dS R(K);  dR(K) = dS^T R(Q)
template <class Pass, class T>
void backward_by(MemoryPool& pool, const LocalAttentionInputs<T>& in, const LocalAttentionGradients<T>& gradients) {
  Scratch scratch(pool, Pass::scratch_bytes(most_keys(in.layout), in.query.head_size));
  // No two parts give gradients to the same key.
  const bool together = spans_share_keys(in.layout) && !gradients.own_keys_only;
  const AttentionParts parts = backward_parts(in.layout, in.key.heads, together, Pass::key_step, omp_get_max_threads());
  for_each_part(parts, [&](const AttentionPart& part) {
    for (Span span : part.spans) {
      std::int64_t first_query = 0, first_key = 0, last_key = span.keys_before + span.length;
      if (part.gradients == Gradients::of_queries) {
        first_query = part.begin;
        span.length = part.end;
        last_key = span.keys_before + part.end;
      } else if (part.gradients == Gradients::of_keys) {
        const std::int64_t key = first_key_of(in.layout, span);
        first_key = std::max<std::int64_t>(0, part.begin - key);
        last_key = std::min(last_key, part.end - key);
        first_query = std::max<std::int64_t>(0, first_key - span.keys_before) / Pass::queries * Pass::queries;
      }
      backward_of<Pass>(scratch, in, gradients, span, part.kv_head, part.gradients, first_query, first_key, last_key);
    }
  });
}

/// Keys that several spans see, or none, get their gradients in sums that start from zero.
template <class T>
void start_from_zero(const LocalAttentionInputs<T>& in, Gradient<HeadRows<T>>& gradient) {
  const std::int64_t rows = in.layout.rows() + in.layout.lanes * in.keys_in_front;
  if (gradient.wanted() && !gradient.accumulate) std::fill_n(gradient.view.data, rows * gradient.view.stride(), T(0));
  gradient.accumulate = true;
}

template <class T>
void check(const LocalAttentionInputs<T>& in) {
  assert(in.query.heads % in.key.heads == 0 && in.key.heads == in.value.heads);
  assert(in.query.head_size == in.rotary.head_size() && in.key.head_size == in.rotary.head_size());
  for ([[maybe_unused]] const Span& span : in.layout.spans) {
    assert(span.length > 0 && span.keys_before <= span.position &&
           span.position + span.length <= in.rotary.positions() &&
           span.keys_before <= in.keys_in_front + span.begin % in.layout.tokens);
  }
}

}  // namespace

template <class T>
void local_attention_forward(MemoryPool& pool, const LocalAttentionInputs<T>& in,
                             const LocalAttentionResult<T>& result) {
  check(in);
#ifdef __AMX_BF16__
  // Of bfloat16 alone: float32 would have to be split into pieces between all products.
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (matmul_uses_matrix_units()) return forward_by<UnitSpanForward>(pool, in, result);
  }
#endif
  forward_by<SpanForward<T>>(pool, in, result);
}

template <class T>
void local_attention_backward(MemoryPool& pool, const LocalAttentionInputs<T>& in,
                              const LocalAttentionGradients<T>& gradients) {
  check(in);
  LocalAttentionGradients<T> wanted = gradients;
  if (in.keys_in_front > 0 || spans_share_keys(in.layout)) {
    start_from_zero(in, wanted.d_key);
    start_from_zero(in, wanted.d_value);
  }
  if (!wanted.d_query.wanted() && !wanted.d_key.wanted() && !wanted.d_value.wanted()) return;
#ifdef __AMX_BF16__
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (matmul_uses_matrix_units()) return backward_by<UnitSpanBackward>(pool, in, wanted);
  }
#endif
  backward_by<SpanBackward<T>>(pool, in, wanted);
}

#define PALIMPSEST_INSTANTIATE(T)                                                        \
  template void local_attention_forward<T>(MemoryPool&, const LocalAttentionInputs<T>&,  \
                                           const LocalAttentionResult<T>&);              \
  template void local_attention_backward<T>(MemoryPool&, const LocalAttentionInputs<T>&, \
                                            const LocalAttentionGradients<T>&);
PALIMPSEST_INSTANTIATE(float)
PALIMPSEST_INSTANTIATE(bfloat16)
PALIMPSEST_INSTANTIATE(double)
#undef PALIMPSEST_INSTANTIATE

}  // namespace palimpsest
