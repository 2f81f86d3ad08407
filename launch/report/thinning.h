// Which of a long run's logged steps a page shows.
#pragma once

#include <cstddef>
#include <vector>

#include "launch/report/run_history.h"

namespace palimpsest {

/// Indices of at most about `limit` steps, ascending: all when there are no more. Otherwise the run is cut into equal
/// stretches, and each keeps its smallest and its greatest loss and its greatest gradient norm, so that no spike and no
/// dip is lost; what is not finite counts as greatest. The first and the last step are kept.
std::vector<std::size_t> thinned_steps(const RunHistory& history, std::size_t limit);

/// Indices of at most `limit` of `count` things, evenly spread, the first and the last among them.
std::vector<std::size_t> evenly_spread(std::size_t count, std::size_t limit);

}  // namespace palimpsest
