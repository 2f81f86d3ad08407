#include "core/kernels/attention_parts.h"

#include <algorithm>

#include "core/work_shares.h"

namespace palimpsest::attention_tiles {

namespace {

using Spans = std::span<const Span>;

constexpr std::int64_t query_step = 32;                    // the queries of a panel
constexpr double of_queries = 3, of_keys = 4, of_all = 5;  // products of backward

/// Keys that the queries before query i of a span see, one after the other.
double seen_before(const Span& span, std::int64_t i) {
  const auto queries = static_cast<double>(i);
  return queries * static_cast<double>(span.keys_before) + queries * (queries + 1) / 2;
}
double seen_by(const Span& span, std::int64_t begin, std::int64_t end) {
  return seen_before(span, end) - seen_before(span, begin);
}

/// Queries that see the keys [begin, end) of a span, those in front of it included.
double seeing(const Span& span, std::int64_t begin, std::int64_t end) {
  double queries = 0;
  for (std::int64_t key = begin; key < end; ++key) {
    queries += static_cast<double>(span.length - std::max<std::int64_t>(0, key - span.keys_before));
  }
  return queries;
}

/// Calls function(begin, end, work) for up to `pieces` runs of [0, count) of nearly equal work(begin, end) that begin
/// at multiples of `step`.
template <class Work, class Function>
void cut(std::int64_t count, std::int64_t step, std::int64_t pieces, Work work, Function function) {
  const double each = work(0, count) / static_cast<double>(pieces);
  for (std::int64_t begin = 0; begin < count;) {
    std::int64_t end = std::min(begin + step, count);
    double own = work(begin, end);
    while (end < count) {
      const std::int64_t next = std::min(end + step, count);
      const double more = own + work(end, next);
      if (more > each * (1 + 1e-9)) break;
      own = more;
      end = next;
    }
    function(begin, end, own);
    begin = end;
  }
}

std::int64_t longest(const SequenceLayout& layout) {
  std::int64_t length = 1;
  for (const Span& span : layout.spans) length = std::max(length, span.keys_before + span.length);
  return length;
}

/// The first of parts(1), parts(2), parts(4) ... up to parts(most) than which none of the later ones gives the busiest
/// thread noticeably less.
template <class Make>
AttentionParts finest_worth_it(std::int64_t most, int threads, Make make) {
  AttentionParts best;
  double least = 0;
  for (std::int64_t pieces = 1; pieces == 1 || pieces < 2 * most; pieces *= 2) {
    AttentionParts parts = make(pieces);
    std::ranges::stable_sort(parts, std::greater<>(), &AttentionPart::work);
    const double largest = largest_share(shares_of(parts, threads));
    double all = 0;
    for (const AttentionPart& part : parts) all += part.work;
    if (best.empty() || largest < 0.97 * least) {
      best = std::move(parts);
      least = largest;
    }
    if (least <= 1.03 * all / threads) break;
  }
  return best;
}

}  // namespace

std::vector<double> shares_of(const AttentionParts& parts, int threads) {
  std::vector<double> work;
  work.reserve(parts.size());
  for (const AttentionPart& part : parts) work.push_back(part.work);
  return dealt_out(work, threads);
}

AttentionParts forward_parts(const SequenceLayout& layout, std::int64_t kv_heads, int threads) {
  const auto make = [&](std::int64_t pieces) {
    AttentionParts parts;
    for (const Span& span : layout.spans) {
      for (std::int64_t head = 0; head < kv_heads; ++head) {
        cut(
            span.length, query_step, pieces, [&](std::int64_t a, std::int64_t b) { return seen_by(span, a, b); },
            [&](std::int64_t begin, std::int64_t end, double work) {
              parts.push_back({Spans(&span, 1), head, begin, end, Gradients::all, work});
            });
      }
    }
    return parts;
  };
  return finest_worth_it(longest(layout) / query_step, threads, make);
}

AttentionParts backward_parts(const SequenceLayout& layout, std::int64_t kv_heads, bool together, std::int64_t key_step,
                              int threads) {
  const auto whole = [&] {
    AttentionParts parts;
    for (auto first = layout.spans.begin(); first != layout.spans.end();) {
      const std::int64_t lane = first->begin / layout.tokens;
      const auto end = together ? std::find_if(first, layout.spans.end(),
                                               [&](const Span& span) { return span.begin / layout.tokens != lane; })
                                : first + 1;
      double work = 0;
      for (const Span& span : Spans(first, end)) work += of_all * seen_by(span, 0, span.length);
      for (std::int64_t head = 0; head < kv_heads; ++head) {
        parts.push_back({Spans(first, end), head, 0, first->keys_before + first->length, Gradients::all, work});
      }
      first = end;
    }
    return parts;
  };
  const auto make = [&](std::int64_t pieces) {
    if (pieces == 1) return whole();
    AttentionParts parts;
    for (const Span& span : layout.spans) {
      for (std::int64_t head = 0; head < kv_heads; ++head) {
        const Spans alone(&span, 1);
        cut(
            span.length, query_step, pieces,
            [&](std::int64_t a, std::int64_t b) { return of_queries * seen_by(span, a, b); },
            [&](std::int64_t begin, std::int64_t end, double work) {
              parts.push_back({alone, head, begin, end, Gradients::of_queries, work});
            });
        cut(
            span.keys_before + span.length, key_step, pieces,
            [&](std::int64_t a, std::int64_t b) { return of_keys * seeing(span, a, b); },
            [&](std::int64_t begin, std::int64_t end, double work) {
              parts.push_back({alone, head, begin, end, Gradients::of_keys, work});
            });
      }
    }
    return parts;
  };
  return finest_worth_it(together ? 1 : longest(layout) / std::min(key_step, query_step), threads, make);
}

}  // namespace palimpsest::attention_tiles
