// Questions to a model that has read something: each asked of the same state, or following the last answer.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "launch/inference/generator.h"

namespace palimpsest {

class Conversation {
 public:
  /// Questions that can be taken back; each keeps the state from before it.
  static constexpr std::size_t most_undone = 8;

  /// `start` may have something to read.
  explicit Conversation(Generator start) : start_(std::move(start)), now_(start_) {}

  /// Reads what the start has unread, before any question; see Generator::read.
  bool read(const GoesOn& goes_on);
  /// The state that the first question is asked of, and goes back to.
  const Generator& start() const { return start_; }

  /// Whether a question follows the last answer; otherwise, as at first, each is asked of the start.
  bool follows = false;
  /// The state that the next question is asked of.
  const Generator& asked() const { return follows ? now_ : start_; }

  /// The answer to a question. One that is interrupted is kept as far as it came; where an error is thrown, nothing has
  /// happened.
  GenerationResult ask(std::string_view question, const GenerationOptions& options, const TextSink& write,
                       const GoesOn& goes_on);
  /// The last answer goes on.
  GenerationResult go_on(const GenerationOptions& options, const TextSink& write, const GoesOn& goes_on);

  /// Takes the last question and its answer back. False when there is none, or none that can be.
  bool undo();
  /// Back to the start.
  void reset();

 private:
  GenerationResult answer(Generator generator, const GenerationOptions& options, const TextSink& write,
                          const GoesOn& goes_on);

  Generator start_;
  Generator now_;                  // after the last answer
  std::deque<Generator> earlier_;  // now_ before each question
};

}  // namespace palimpsest
