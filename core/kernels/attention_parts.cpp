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

/// Spans of a lane in the order of their tokens, and by how many of their queries each key is seen that any of them
/// sees. Later spans see keys from the same one or a later one on.
class QueriesPerKey {
 public:
  QueriesPerKey(const SequenceLayout& layout, Spans spans) : layout_(layout), spans_(spans) {
    first_ = first_of(spans.front());
    for (const Span& span : spans) count_ = std::max(count_, end_of(span) - first_);
    // By how much a key is seen by more queries than the one in front of it, and by how much this in turn changes: all
    // of a span's queries see the keys in front of it and its first, one query less each of its other keys.
    std::vector<double> more(static_cast<std::size_t>(count_) + 2, 0.0), change(more);
    const auto at = [&](std::int64_t key) { return static_cast<std::size_t>(key - first_); };
    for (const Span& span : spans) {
      more[at(first_of(span))] += static_cast<double>(span.length);
      change[at(end_of(span) - span.length + 1)] -= 1;
      change[at(end_of(span) + 1)] += 1;
    }
    before_.assign(static_cast<std::size_t>(count_) + 1, 0.0);
    double queries = 0, slope = 0;
    for (std::size_t key = 0; key + 1 < before_.size(); ++key) {
      slope += change[key];
      queries += more[key] + slope;
      before_[key + 1] = before_[key] + queries;
    }
  }

  Spans spans() const { return spans_; }
  std::int64_t first() const { return first_; }
  std::int64_t count() const { return count_; }

  /// Pairs of a query and one of the keys [begin, end), counted from the first.
  double pairs(std::int64_t begin, std::int64_t end) const {
    return before_[static_cast<std::size_t>(end)] - before_[static_cast<std::size_t>(begin)];
  }

  /// The spans that see any of the keys [begin, end), counted from the first.
  Spans seeing(std::int64_t begin, std::int64_t end) const {
    const auto from =
        std::ranges::partition_point(spans_, [&](const Span& span) { return end_of(span) <= first_ + begin; });
    const auto to =
        std::partition_point(from, spans_.end(), [&](const Span& span) { return first_of(span) < first_ + end; });
    return {from, to};
  }

 private:
  std::int64_t first_of(const Span& span) const { return first_key_of(layout_, span); }
  std::int64_t end_of(const Span& span) const { return first_of(span) + span.keys_before + span.length; }

  const SequenceLayout& layout_;
  Spans spans_;
  std::int64_t first_ = 0, count_ = 0;
  std::vector<double> before_;  // pairs of all keys before each
};

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
  // Spans that give gradients to the same keys.
  std::vector<Spans> groups;
  for (auto first = layout.spans.begin(); first != layout.spans.end();) {
    const auto in_other_lane = [&](const Span& span) {
      return span.begin / layout.tokens != first->begin / layout.tokens;
    };
    const auto end = together ? std::find_if(first, layout.spans.end(), in_other_lane) : first + 1;
    groups.emplace_back(first, end);
    first = end;
  }
  const auto whole = [&] {
    AttentionParts parts;
    for (const Spans& group : groups) {
      double work = 0;
      for (const Span& span : group) work += of_all * seen_by(span, 0, span.length);
      for (std::int64_t head = 0; head < kv_heads; ++head) parts.push_back({group, head, 0, 0, Gradients::all, work});
    }
    return parts;
  };
  std::vector<QueriesPerKey> keys_of_groups;
  const auto make = [&](std::int64_t pieces) {
    if (pieces == 1) return whole();
    if (keys_of_groups.empty()) {
      for (const Spans& group : groups) keys_of_groups.emplace_back(layout, group);
    }
    AttentionParts parts;
    for (const QueriesPerKey& keys : keys_of_groups) {
      const auto spans = static_cast<std::int64_t>(keys.spans().size());
      for (std::int64_t head = 0; head < kv_heads; ++head) {
        for (const Span& span : keys.spans()) {
          cut(
              span.length, query_step, std::max<std::int64_t>(1, pieces / spans),
              [&](std::int64_t a, std::int64_t b) { return of_queries * seen_by(span, a, b); },
              [&](std::int64_t begin, std::int64_t end, double work) {
                parts.push_back({Spans(&span, 1), head, begin, end, Gradients::of_queries, work});
              });
        }
        cut(
            keys.count(), key_step, pieces, [&](std::int64_t a, std::int64_t b) { return of_keys * keys.pairs(a, b); },
            [&](std::int64_t begin, std::int64_t end, double work) {
              parts.push_back(
                  {keys.seeing(begin, end), head, keys.first() + begin, keys.first() + end, Gradients::of_keys, work});
            });
      }
    }
    return parts;
  };
  std::int64_t most = 1;
  for (const Spans& group : groups) {
    std::int64_t tokens = 0;
    for (const Span& span : group) tokens += span.keys_before + span.length;
    most = std::max(most, tokens / std::min(key_step, query_step));
  }
  return finest_worth_it(most, threads, make);
}

}  // namespace palimpsest::attention_tiles
