#include "data/stream/lane_turns.h"

#include <algorithm>
#include <cmath>

namespace palimpsest {

namespace {

constexpr std::int64_t turn = LaneTurns::turn, cycle = LaneTurns::cycle, whole_lane = turn * cycle;

/// Each number below `cycle` once over a cycle, neighbours far apart: the ten bits reversed.
std::int64_t spread(std::int64_t turn_number) {
  std::int64_t reversed = 0;
  for (std::int64_t bit = 1; bit < cycle; bit *= 2) reversed = 2 * reversed + (turn_number / bit) % 2;
  return reversed;
}

/// How many steps of a turn lie before a border inside a lane. Rises with the border, and adds up to `border` over a
/// cycle (Hermite's identity: the sum over k below n of floor((m + k) / n) is m).
std::int64_t steps_before(std::int64_t turn_number, std::int64_t border) {
  return (border + spread(turn_number % cycle)) / cycle;
}

/// The same over all turns before one.
std::int64_t steps_in_turns(std::int64_t turns, std::int64_t border) {
  std::int64_t steps = turns / cycle * border;
  for (std::int64_t i = 0; i < turns % cycle; ++i) steps += steps_before(i, border);
  return steps;
}

}  // namespace

LaneTurns::LaneTurns(std::span<const double> shares, std::int64_t lanes) : borders_{0} {
  double before = 0;
  for (const double share : shares) {
    before += share;
    borders_.push_back(std::llround(before * static_cast<double>(lanes) * static_cast<double>(whole_lane)));
  }
  borders_.back() = lanes * whole_lane;
}

std::int64_t LaneTurns::border(std::size_t holders_before, std::int64_t lane) const {
  return std::clamp<std::int64_t>(borders_[holders_before] - lane * whole_lane, 0, whole_lane);
}

LaneTurns::Place LaneTurns::at(std::int64_t lane, std::int64_t step) const {
  const std::int64_t number = step / turn, in_turn = step % turn;
  std::size_t holder = 0;
  while (steps_before(number, border(holder + 1, lane)) <= in_turn) ++holder;
  const std::int64_t begin = border(holder, lane), end = border(holder + 1, lane);
  Place place{.holder = holder, .lane = lane - borders_[holder] / whole_lane, .steps = step, .since = 0};
  if (begin == 0 && end == whole_lane) return place;
  const std::int64_t first = steps_before(number, begin);
  place.steps = steps_in_turns(number, end) - steps_in_turns(number, begin) + in_turn - first;
  place.since = step - in_turn + first;
  // It may have had the end of the turns before, too.
  for (std::int64_t before = number; place.since == before * turn && before > 0; --before) {
    if (steps_before(before - 1, end) < turn || steps_before(before - 1, begin) == turn) break;
    place.since = (before - 1) * turn + steps_before(before - 1, begin);
  }
  return place;
}

std::int64_t LaneTurns::lanes(std::size_t holder) const {
  return (borders_[holder + 1] + whole_lane - 1) / whole_lane - borders_[holder] / whole_lane;
}

bool LaneTurns::has_any(std::size_t holder, std::int64_t step) const {
  const std::int64_t first = borders_[holder] / whole_lane, count = lanes(holder);
  for (std::int64_t lane = first; lane < first + count; ++lane) {
    const std::int64_t number = step / turn, in_turn = step % turn;
    if (steps_before(number, border(holder, lane)) <= in_turn &&
        in_turn < steps_before(number, border(holder + 1, lane))) {
      return true;
    }
  }
  return false;
}

}  // namespace palimpsest
