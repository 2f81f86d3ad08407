// Where a run's tokens come from.
#pragma once

#include <string>
#include <vector>

#include "data/stream/passkey_config.h"

namespace palimpsest {

/// What is trained on: token files, or prompts that are made up on the way.
enum class DataKind { text, passkey };

/// One of several sources that are mixed.
struct MixtureEntry {
  DataKind kind = DataKind::text;
  std::string name;   // in logs; empty: the file's name, or "passkey"
  double weight = 1;  // its part of the tokens, beside the other sources' weights
  // Of kind text.
  std::string file;           // token file
  double virtual_length = 1;  // the most that a segment writes to the memory (data/stream/virtual_length.h)
  // Of kind passkey.
  PasskeyConfig passkey{.tokenizer = {}};  // empty: that of the mixture's text
};

struct DataConfig {
  DataKind kind = DataKind::text;
  // Of kind text.
  std::string train;                  // token file of the training split
  std::vector<MixtureEntry> mixture;  // or what it is mixed of
  double virtual_length = 1;          // the most that a segment writes to the memory (data/stream/virtual_length.h)
  // Of kind passkey.
  PasskeyConfig passkey;
  // Of every kind.
  std::string validation;  // token file of the validation split; empty: no evaluation while training
  std::string test;        // token file of the test split
};

}  // namespace palimpsest
