// Where a run's tokens come from.
#pragma once

#include <string>

#include "data/stream/passkey_config.h"

namespace palimpsest {

/// What is trained on: a token file, or prompts that are made up on the way.
enum class DataKind { text, passkey };

struct DataConfig {
  DataKind kind = DataKind::text;
  // Of kind text.
  std::string train;          // token file of the training split
  double virtual_length = 1;  // the most that a segment writes to the memory (data/stream/virtual_length.h)
  // Of kind passkey.
  PasskeyConfig passkey;
  // Of every kind.
  std::string validation;  // token file of the validation split; empty: no evaluation while training
  std::string test;        // token file of the test split
};

}  // namespace palimpsest
