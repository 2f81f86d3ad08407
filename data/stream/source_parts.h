// What token sources have in common: the batch that they fill, and what a stored position must agree with.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/token_batch.h"
#include "data/stream/token_source.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

/// Throws ConfigError, opening with `whose`, unless the lanes are some of a batch's.
void require_lanes(LaneRun lanes, std::int64_t batch_size, std::string_view whose = {});

/// Of these lanes: room for inputs, targets, documents and loss weights.
TokenBatch empty_batch(LaneRun lanes, std::int64_t sequence_length);

/// Takes the weight from the targets that are masked: `weights` are those of a file's tokens from `begin` on.
void leave_out_masked(const TokenFile& file, std::int64_t begin, std::span<float> weights);

/// What the position in a source depends on, key by key, now and where it was stored. Throws ConfigError, opening with
/// `whose` and naming what differs, when it cannot be resumed.
void require_same_task(std::string_view whose, const nlohmann::json& ours, const nlohmann::json& theirs);

}  // namespace palimpsest
