// A tile of queries goes past blocks of keys, the softmax's maximum and sum kept on the way (Milakov and Gimelshein
// 2018; Dao et al. 2022), so a (tokens, tokens) matrix never exists, and of what lies above the diagonal little is
// computed. What happens to a tile and a block is a pass's business: attention_forward.h and attention_backward.h by
// vectors, attention_units_*.h by matrix units.
#include "core/kernels/local_attention.h"

#include <algorithm>
#include <cassert>
#include <type_traits>
#include <vector>

#include "core/kernels/attention_backward.h"
#include "core/kernels/attention_forward.h"
#include "core/kernels/attention_units_backward.h"
#include "core/kernels/attention_units_forward.h"
#include "core/matmul.h"

namespace palimpsest {

using namespace attention_tiles;

namespace {

using Spans = std::span<const Span>;

/// Some of the spans see keys in front of their own.
bool spans_share_keys(const SequenceLayout& layout) {
  return std::ranges::any_of(layout.spans, [](const Span& span) { return span.keys_before > 0; });
}

/// Matrix units take bfloat16 alone (float32 would have to be split into pieces between all products), and spans that
/// see no keys but their own.
template <class T>
bool by_matrix_units(const LocalAttentionInputs<T>& in) {
  return std::is_same_v<T, bfloat16> && matmul_uses_matrix_units() && !spans_share_keys(in.layout);
}

/// The spans one by one or those of a lane together.
std::vector<Spans> runs_of(const SequenceLayout& layout, bool together) {
  std::vector<Spans> runs;
  for (auto first = layout.spans.begin(); first != layout.spans.end();) {
    const std::int64_t lane = first->begin / layout.tokens;
    const auto end = together ? std::find_if(first, layout.spans.end(),
                                             [&](const Span& span) { return span.begin / layout.tokens != lane; })
                              : first + 1;
    runs.emplace_back(first, end);
    first = end;
  }
  return runs;
}

/// Calls function(span, kv_head) for all spans of each run, run by run and head by head in parallel.
template <class Function>
void for_each_span_head(const std::vector<Spans>& runs, std::int64_t kv_heads, Function function) {
  const auto tasks = static_cast<std::int64_t>(runs.size()) * kv_heads;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t task = 0; task < tasks; ++task) {
    for (const Span& span : runs[static_cast<std::size_t>(task / kv_heads)]) function(span, task % kv_heads);
  }
}

template <class Pass, class T>
void forward_by(MemoryPool& pool, const LocalAttentionInputs<T>& in, const LocalAttentionResult<T>& result) {
  const std::int64_t kv_heads = in.key.heads, group_heads = in.query.heads / kv_heads;
  std::vector<Spans> spans;
  for (const Span& span : in.layout.spans) spans.emplace_back(&span, 1);
  Scratch scratch(pool, Pass::scratch_bytes(most_keys(in.layout), in.query.head_size));
  for_each_span_head(spans, kv_heads, [&](const Span& span, std::int64_t kv_head) {
    Pass pass(Scratch::Taker(scratch), in, span);
    pass.load_keys(kv_head);
    for (std::int64_t head = kv_head * group_heads; head < (kv_head + 1) * group_heads; ++head) {
      for (std::int64_t begin = 0; begin < span.length; begin += Pass::queries) {
        pass.load_queries(head, begin);
        for (std::int64_t first = 0; first < pass.keys(); first += block) {
          pass.add_block(first, std::min(first + block, pass.keys()));
        }
        pass.store_output(result, head);
      }
    }
  });
}

// dV = P^T dO;  dP = dO V^T;  dS = P (dP - rowsum(dO O)) / sqrt(d);  dR(Q) = dS R(K);  dR(K) = dS^T R(Q)
template <class Pass, class T>
void backward_by(MemoryPool& pool, const LocalAttentionInputs<T>& in, const LocalAttentionGradients<T>& gradients) {
  const std::int64_t kv_heads = in.key.heads, group_heads = in.query.heads / kv_heads;
  Scratch scratch(pool, Pass::scratch_bytes(most_keys(in.layout), in.query.head_size));
  // No two runs give gradients to the same key.
  const bool together = spans_share_keys(in.layout) && !gradients.own_keys_only;
  for_each_span_head(runs_of(in.layout, together), kv_heads, [&](const Span& span, std::int64_t kv_head) {
    Pass pass(Scratch::Taker(scratch), in, span, gradients);
    pass.load_keys(kv_head);
    for (std::int64_t head = kv_head * group_heads; head < (kv_head + 1) * group_heads; ++head) {
      for (std::int64_t begin = 0; begin < span.length; begin += Pass::queries) {
        pass.load_queries(head, begin);
        for (std::int64_t first = 0; first < pass.keys(); first += block) {
          const std::int64_t last = std::min(first + block, pass.keys());
          pass.score_block(first, last);
          pass.add_to_key_gradients(first, last);
          if (gradients.d_query.wanted()) pass.add_to_query_gradients(first, last);
        }
        if (gradients.d_query.wanted()) pass.store_query_gradients(head);
      }
    }
    pass.store_key_gradients(kv_head);
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
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (by_matrix_units(in)) return forward_by<UnitSpanForward>(pool, in, result);
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
    if (by_matrix_units(in)) return backward_by<UnitSpanBackward>(pool, in, wanted);
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
