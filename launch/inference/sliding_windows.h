// Evaluation in windows that slide over a document: how an attention that keeps nothing of what lies further back reads
// a long text at its best. Each window begins as a document does; the next one begins `stride` tokens later, and of it
// those tokens count that no window before has had. All but the document's first `window` tokens have at least `window
// - stride` tokens before them.
#pragma once

#include <cstdint>
#include <vector>

#include "launch/inference/evaluation_cursor.h"
#include "layers/model_config.h"

namespace palimpsest {

/// Throws ConfigError unless 1 <= stride <= window <= 2^40, on an attention that carries something from segment to
/// segment, which a window would take from it, and on a window longer than the segment that it sees. `config` must be
/// resolved.
void check_windows(const ModelConfig& config, std::int64_t window, std::int64_t stride);

/// The windows of a document of `tokens` tokens. Their counted tokens are the document's, each once, in order.
std::vector<Stretch> sliding_windows(std::int64_t document, std::int64_t tokens, std::int64_t window,
                                     std::int64_t stride);

/// Those of the documents of these lengths that `rank` of `ranks` reads: every `ranks`-th one, so that even a single
/// document is shared.
std::vector<Stretch> windows_of_rank(const std::vector<std::int64_t>& tokens, std::int64_t window, std::int64_t stride,
                                     int rank, int ranks);

}  // namespace palimpsest
