#include "launch/commands/token_progress.h"

#include <fmt/format.h>

#include "core/elapsed.h"

namespace palimpsest {

void TokenProgress::show(const EvaluationProgress& now) {
  if (now.done == 0) return;
  const double seconds = seconds_since(start_), done = static_cast<double>(now.done),
               all = static_cast<double>(now.all);
  const bool lasting = seconds >= next_line_;
  log_.progress(fmt::format("{:.0f} %  {} of {} tokens  {} tokens/s{}  ETA {}", 100 * done / all, format_count(done),
                            format_count(all), format_count(done / seconds), whose_,
                            format_duration(seconds / done * (all - done))),
                lasting);
  if (lasting) next_line_ = seconds + seconds_between_lines;
}

}  // namespace palimpsest
