// What many prompts begin with alike is read once: the states at those places of it where prompts go their own ways.
#pragma once

#include <cstdint>
#include <map>

#include "data/stream/passkey_prompt.h"
#include "layers/decode_state.h"

namespace palimpsest {

class SharedBeginning {
 public:
  /// `forks`: after how many tokens, a multiple of the model's segment, how often states will be asked for. The model
  /// and the pool must outlive this.
  SharedBeginning(const LanguageModel& model, MemoryPool& pool, std::map<std::int64_t, int> forks);

  /// Reads on to token `end`, if it is not that far. All prompts must begin with the same tokens up to there. Returns
  /// how many tokens were read.
  std::int64_t read(const PasskeyPrompt& prompt, std::int64_t end);
  /// `lanes` times the state after `fork` tokens, which is 0 or one of the forks and has been read. It is held until it
  /// has been asked for as often as was said.
  DecodeState take(std::int64_t fork, std::int64_t lanes);

 private:
  const LanguageModel& model_;
  MemoryPool& pool_;
  std::map<std::int64_t, int> forks_;
  DecodeState state_;
  std::map<std::int64_t, DecodeSnapshot> snapshots_;
};

}  // namespace palimpsest
