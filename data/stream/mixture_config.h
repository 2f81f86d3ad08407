// Options of training on a mixture of sources.
#pragma once

#include <string>

#include "data/stream/passkey_config.h"

namespace palimpsest {

/// What is trained on: token files, prompts that are made up on the way, or (not in a mixture) queries of documents.
enum class DataKind { text, passkey, queries };

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

}  // namespace palimpsest
