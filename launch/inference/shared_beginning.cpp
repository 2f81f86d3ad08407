#include "launch/inference/shared_beginning.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace palimpsest {

SharedBeginning::SharedBeginning(const LanguageModel& model, MemoryPool& pool, std::map<std::int64_t, int> forks)
    : model_(model), pool_(pool), forks_(std::move(forks)), state_(model, pool) {
  forks_.erase(0);
}

std::int64_t SharedBeginning::read(const PasskeyPrompt& prompt, std::int64_t end) {
  const std::int64_t before = state_.tokens();
  while (state_.tokens() < end) {
    const auto fork = forks_.upper_bound(state_.tokens());
    const std::int64_t stop = fork == forks_.end() ? end : std::min(fork->first, end);
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(stop - state_.tokens()));
    prompt.read(state_.tokens(), tokens);
    state_.advance(tokens);
    if (forks_.contains(stop)) snapshots_.emplace(stop, state_.snapshot());
  }
  return state_.tokens() - before;
}

DecodeState SharedBeginning::take(std::int64_t fork, std::int64_t lanes) {
  if (fork == 0) return {model_, pool_, lanes};
  DecodeState state = DecodeState(model_, pool_, snapshots_.at(fork)).copies(lanes);
  if (--forks_.at(fork) == 0) snapshots_.erase(fork);
  return state;
}

}  // namespace palimpsest
