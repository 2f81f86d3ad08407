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

/// Reads several documents side by side: lane i of the state is of documents[i], the same as read_document's up to
/// rounding. They have equally many segments, and equally many tokens where the state would hold what fills up the
/// shorter ones. Throws ShapeError on others, on none, and on a token outside the vocabulary.
SequenceState read_documents(const LanguageModel& model, MemoryPool& pool,
                             std::span<const std::vector<std::int32_t>> documents);

/// Which of documents with so many tokens read_documents is to take together, places in `lengths`: as many as fill the
/// matrix products of a pass, at most `most`. One that fills them alone is for read_document. The longest come first.
std::vector<std::vector<std::size_t>> side_by_side(const LanguageModel& model, std::span<const std::int64_t> lengths,
                                                   std::int64_t most);

/// log p(query | memory, before) ÷ tokens of the query, in nats, for each lane of `documents`: the tokens `before` and
/// then `query` follow each document in a new segment, and those of the query are predicted. Throws ShapeError when
/// either is empty: the first token of the query is predicted from the last one before it.
std::vector<double> query_log_likelihoods(const LanguageModel& model, MemoryPool& pool, const SequenceState& documents,
                                          std::span<const std::int32_t> before, std::span<const std::int32_t> query);
/// The same with tokens of its own before the query in each lane. Throws ShapeError also on another number of them.
std::vector<double> query_log_likelihoods_each(const LanguageModel& model, MemoryPool& pool,
                                               const SequenceState& documents,
                                               std::span<const std::vector<std::int32_t>> before,
                                               std::span<const std::int32_t> query);

}  // namespace palimpsest
