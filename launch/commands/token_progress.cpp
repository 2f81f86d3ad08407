#include "launch/commands/token_progress.h"

#include <fmt/format.h>

namespace palimpsest {

void TokenProgress::show(const EvaluationProgress& now) {
  if (now.done == 0) return;
  const double taken = seconds(), done = static_cast<double>(now.done), all = static_cast<double>(now.all);
  log_.progress(fmt::format("{}{:.0f} %  {} of {} tokens  {}{}  ETA {}", before_, 100 * done / all, format_count(done),
                            format_count(all), format_rate(now.done, taken), whose_,
                            format_duration(taken / done * (all - done))),
                lasting_.due(taken));
}

}  // namespace palimpsest
