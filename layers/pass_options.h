// How a forward and backward pass is carried out; none of it changes the mathematics.
#pragma once

namespace palimpsest {

/// The order of work over a sequence (docs/design.md, "Two schedules").
enum class Schedule {
  automatic,   // parallel, or sequential where segments are recomputed
  sequential,  // segment after segment, the memory handed on
  parallel,    // all segments at once, layer by layer
};

/// What backward computes again instead of keeping it.
enum class Recompute {
  none,
  segment,  // everything between the states at the segments' starts: implies the sequential schedule
};

struct PassOptions {
  Schedule schedule = Schedule::automatic;
  Recompute recompute = Recompute::none;
  /// Gradients are those of loss_scale times the weighted sum of losses.
  double loss_scale = 1.0;
};

}  // namespace palimpsest
