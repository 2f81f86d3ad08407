#include "launch/ranks/silence.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "launch/ranks/rank_status.h"

namespace palimpsest {

std::vector<int> watched_by(int rank, int ranks) {
  if (rank != 0) return {0, rank};
  std::vector<int> all(static_cast<std::size_t>(ranks));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

SilenceJudge::SilenceJudge(const std::vector<int>& watched, int ranks, double timeout, double interval)
    : job_ranks_(ranks), timeout_(timeout), interval_(interval) {
  for (const int rank : watched) ranks_.emplace_back().number = rank;
}

std::string SilenceJudge::describe(const Rank& rank, const std::string& what) const {
  return fmt::format("{} of {} {}{}", rank.last ? rank.last->who() : fmt::format("rank {}", rank.number), job_ranks_,
                     what, rank.last ? fmt::format("; last phase: {}", rank.last->where()) : "");
}

std::string SilenceJudge::describe(const Rank& rank, double seconds, const std::string& what) const {
  return describe(rank, fmt::format("{} for {:.3g} s", what, seconds));
}

std::optional<std::string> SilenceJudge::look(Clock::time_point now,
                                              const std::vector<std::optional<Heartbeat>>& heartbeats) {
  const double passed =
      last_look_ ? std::min(std::chrono::duration<double>(now - *last_look_).count(), 2 * interval_) : 0;
  last_look_ = now;
  bool all_waiting = job_ranks_ > 1 && static_cast<int>(ranks_.size()) == job_ranks_;
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    Rank& rank = ranks_[i];
    rank.without_beat += passed;
    rank.without_life += passed;
    const std::optional<Heartbeat>& heartbeat = heartbeats[i];
    const bool known = heartbeat && rank.last && heartbeat->process == rank.last->process;
    if (heartbeat && heartbeat != rank.last) {
      if (!known || heartbeat->beat != rank.last->beat) rank.without_beat = 0;
      if (!known || heartbeat->alive != rank.last->alive) rank.without_life = 0;
      rank.ends = known && heartbeat->ending;
    }
    all_waiting = all_waiting && known && heartbeat->progress == rank.last->progress && heartbeat->waiting;
    if (heartbeat) rank.last = heartbeat;
  }
  all_waiting_ = all_waiting ? all_waiting_ + passed : 0;

  for (const Rank& rank : ranks_) {
    if (rank.ends) return describe(rank, "ends the job, and says why");
  }
  for (const Rank& rank : ranks_) {
    if (rank.without_beat >= timeout_) {
      const bool left = rank.last && rank.last->phase == name_of(Phase::finished);
      return describe(rank, rank.without_beat,
                      left ? "has left early, and has been gone" : "has given no sign of life");
    }
  }
  for (const Rank& rank : ranks_) {
    if (rank.without_life >= timeout_) {
      return describe(rank, rank.without_life, "has neither computed nor come any further");
    }
  }
  if (all_waiting_ >= timeout_) {
    const auto [first, last] = std::ranges::minmax(ranks_, {}, [](const Rank& rank) { return rank.last->step; });
    const std::string where = first.last->step == last.last->step
                                  ? fmt::format(" in {}", first.last->where())
                                  : fmt::format(", {} in {}, and {} in {},", first.last->who(), first.last->where(),
                                                last.last->who(), last.last->where());
    return fmt::format(
        "all {} ranks have waited for each other{} for {:.3g} s: the network between them, or a rank, "
        "has lost a message",
        ranks_.size(), where, all_waiting_);
  }
  return std::nullopt;
}

}  // namespace palimpsest
