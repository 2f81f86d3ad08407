// Which of several holders has which lanes of a batch at which step, when each is due a share of all lanes that need
// not be a whole number of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace palimpsest {

/// The lanes are handed out in order: the first holder has the first ones, and where its share ends inside a lane, it
/// and the next holder have that lane in turns. A turn is `turn` steps long, of which each holder has those due to it,
/// one after the other in the holders' order, so no lane changes hands more often than its holders' number a turn.
/// Where a part of a turn is no whole number of steps, it is rounded up in some turns and down in others, so that over
/// `cycle` turns every holder has exactly its share, to within 1 / (turn * cycle) of a lane.
class LaneTurns {
 public:
  static constexpr std::int64_t turn = 32;     // steps
  static constexpr std::int64_t cycle = 1024;  // turns

  /// `shares` are positive and add up to 1; lanes >= 1.
  LaneTurns(std::span<const double> shares, std::int64_t lanes);

  /// Who has a lane at a step.
  struct Place {
    std::size_t holder = 0;
    std::int64_t lane = 0;   // counted from the holder's first one
    std::int64_t steps = 0;  // for which the holder had this lane before
    std::int64_t since = 0;  // the step from which on it has had the lane without a break
  };
  /// A function of these two alone, at once for any step.
  Place at(std::int64_t lane, std::int64_t step) const;
  /// How many lanes a holder has at most at a time, or in turns with others.
  std::int64_t lanes(std::size_t holder) const;
  /// Whether a holder has any lane at a step.
  bool has_any(std::size_t holder, std::int64_t step) const;

 private:
  /// Where a holder's part of a lane ends, in units of 1 / (turn * cycle) of the lane.
  std::int64_t border(std::size_t holders_before, std::int64_t lane) const;

  std::vector<std::int64_t> borders_;  // between holders, in the same units, from 0 to that of all lanes
};

}  // namespace palimpsest
