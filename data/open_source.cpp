#include "data/open_source.h"

#include <fmt/format.h>

#include "core/error.h"
#include "data/stream/aligned_stream.h"
#include "data/stream/mixture_source.h"
#include "data/stream/passkey_source.h"
#include "data/stream/query_source.h"
#include "data/stream/segment_stream.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

std::unique_ptr<TokenSource> open_source(const DataConfig& config, const SourceShape& shape) {
  if (config.kind == DataKind::passkey) return std::make_unique<PasskeySource>(config.passkey, shape);
  if (config.kind == DataKind::queries) return std::make_unique<QuerySource>(config.queries, shape);
  if (!config.mixture.empty()) {
    if (config.virtual_length > 1) {
      throw ConfigError(fmt::format("data.virtual_length is {}: where data.train is a list, each source has its own",
                                    config.virtual_length));
    }
    if (config.segments_before_targets > 0) {
      throw ConfigError(fmt::format("data.segments_before_targets is {}, but data.train is a list, expected one file",
                                    config.segments_before_targets));
    }
    return std::make_unique<MixtureSource>(config.mixture, shape);
  }
  if (config.train.empty()) throw ConfigError("data.train is empty: it names the token file to train on");
  if (config.segments_before_targets > 0) {
    if (config.virtual_length > 1) {
      throw ConfigError(fmt::format("data.virtual_length is {}, expected 1 with data.segments_before_targets",
                                    config.virtual_length));
    }
    return std::make_unique<AlignedStream>(std::make_shared<const TokenFile>(config.train), shape,
                                           config.segments_before_targets);
  }
  return std::make_unique<SegmentStream>(std::make_shared<const TokenFile>(config.train),
                                         StreamConfig{.seed = shape.seed,
                                                      .batch_size = shape.batch_size,
                                                      .sequence_length = shape.sequence_length,
                                                      .interleave = shape.interleave,
                                                      .virtual_length = config.virtual_length,
                                                      .segment_length = shape.segment_length});
}

}  // namespace palimpsest
