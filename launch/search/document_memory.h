// What a model remembers of a document, and how likely a query is to it then.
//
// A document's memory is the state after all of it was read, its last segment closed whatever its length: what that
// segment holds is written to the memory, too, and the next token begins another one. So a document of any length is
// known by its memory alone, whose size is constant; that of a document shorter than a segment is not empty; and no
// token of a query sees a token of the document.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/storage.h"
#include "layers/language_model.h"

namespace palimpsest {

/// Throws ConfigError when the model carries nothing from segment to segment, or a state that grows with the document.
void require_document_memory(const LanguageModel& model);

/// Reads a document in one lane. `goes_on`, if given, is asked now and then, and where it says no the state is of what
/// was read until then. Throws ShapeError on a token outside the vocabulary.
SequenceState read_document(const LanguageModel& model, MemoryPool& pool, std::span<const std::int32_t> tokens,
                            const std::function<bool()>& goes_on = {});

/// log p(query | memory, before) ÷ tokens of the query, in nats, for each lane of `documents`: the tokens `before` and
/// then `query` follow each document in a new segment, and those of the query are predicted. Throws ShapeError when
/// either is empty: the first token of the query is predicted from the last one before it.
std::vector<double> query_log_likelihoods(const LanguageModel& model, MemoryPool& pool, const SequenceState& documents,
                                          std::span<const std::int32_t> before, std::span<const std::int32_t> query);

}  // namespace palimpsest
