// What token sources have in common: the batch that they fill, and what a stored position must agree with.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/token_batch.h"
#include "data/stream/token_source.h"
#include "data/stream/token_window.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

/// Throws ConfigError, opening with `whose`, unless the lanes are some of a batch's.
void require_lanes(LaneRun lanes, std::int64_t batch_size, std::string_view whose = {});

/// Of these lanes: room for inputs, targets, documents and loss weights.
TokenBatch empty_batch(LaneRun lanes, std::int64_t sequence_length);

/// Fills a batch from its place `at` on with tokens of a file, which lie in one document that ends before token `end`:
/// inputs, the targets, each its input's successor in the document, and loss weights. An end token has no target
/// (target 0, weight 0), and masked targets have weight 0.
void fill_text(const TokenFile& file, TokenWindow& window, TokenSpan tokens, std::int64_t end, std::size_t at,
               TokenBatch& batch);

/// What the position in a source depends on, key by key, now and where it was stored. Throws ConfigError, opening with
/// `whose` and naming what differs, when it cannot be resumed.
void require_same_task(std::string_view whose, const nlohmann::json& ours, const nlohmann::json& theirs);

/// Throws ConfigError, opening with `whose`, unless a stored position is of this kind: `expected`, in words.
void require_kind(const nlohmann::json& state, std::string_view kind, std::string_view whose,
                  std::string_view expected);

/// Of a source whose position is its steps alone.
struct StepsPosition {
  std::string_view kind;
  std::string whose;             // as messages open
  std::string_view expected;     // the kind, in words
  std::int64_t sequence_length;  // which says how many steps there can be
};

/// The steps of a stored position: an object of "kind", "task" and "steps". Throws ConfigError on another kind or task,
/// DataError where it is not as it has to be.
std::int64_t restored_steps(const nlohmann::json& state, const StepsPosition& position, const nlohmann::json& task);

}  // namespace palimpsest
