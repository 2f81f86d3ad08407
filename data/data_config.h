// Where a run's tokens come from.
#pragma once

#include <string>
#include <vector>

#include "data/stream/mixture_config.h"
#include "data/stream/query_config.h"

namespace palimpsest {

struct DataConfig {
  DataKind kind = DataKind::text;
  // Of kind text.
  std::string train;                  // token file of the training split
  std::vector<MixtureEntry> mixture;  // or what it is mixed of
  double virtual_length = 1;          // the most that a segment writes to the memory (data/stream/virtual_length.h)
  std::int64_t segments_before_targets = 0;  // that a step begins with; 0: steps lie as they come
  // Of kind passkey.
  PasskeyConfig passkey;
  // Of kind queries.
  QueryConfig queries;
  // Of every kind.
  std::string validation;  // token file of the validation split; empty: no evaluation while training
  std::string test;        // token file of the test split
};

}  // namespace palimpsest
