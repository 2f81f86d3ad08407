// How the threads share local attention (core/kernels/local_attention.h): by spans and key/value heads, and where these
// are too few for the threads, by runs of queries and of keys within them. No bit of a result depends on it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/sequence_layout.h"

namespace palimpsest::attention_tiles {

/// What a part of backward computes: everything, the gradients of queries, or those of keys and values. Apart from each
/// other they compute the probabilities twice, 7 products instead of 5.
enum class Gradients { all, of_queries, of_keys };

/// The first key that a span sees, counted from its lane's first token: negative of one in front of it.
inline std::int64_t first_key_of(const SequenceLayout& layout, const Span& span) {
  return span.begin % layout.tokens - span.keys_before;
}

/// Work of one key/value head: the queries [begin, end) of one span, counted from its first (forward, of_queries); the
/// keys [begin, end), counted from the lane's first token, of the spans that see them (of_keys); or, in backward,
/// everything of its spans (all; begin and end are unused).
struct AttentionPart {
  std::span<const Span> spans;
  std::int64_t kv_head = 0, begin = 0, end = 0;
  Gradients gradients = Gradients::all;
  double work = 0;  // pairs of a query and a key that it sees, times products
};

/// Largest first.
using AttentionParts = std::vector<AttentionPart>;

/// AttentionParts of forward: runs of queries of one span.
AttentionParts forward_parts(const SequenceLayout& layout, std::int64_t kv_heads, int threads);

/// AttentionParts of backward. `together`: the spans of a lane give gradients to the same keys, and follow each other
/// in one part. Runs of keys are multiples of `key_step` long, but for the last.
AttentionParts backward_parts(const SequenceLayout& layout, std::int64_t kv_heads, bool together, std::int64_t key_step,
                              int threads);

/// The work of each thread.
std::vector<double> shares_of(const AttentionParts& parts, int threads);

}  // namespace palimpsest::attention_tiles
