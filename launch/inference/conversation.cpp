#include "launch/inference/conversation.h"

#include <utility>

namespace palimpsest {

bool Conversation::read(const GoesOn& goes_on) {
  const bool whole = start_.read(goes_on);
  reset();
  return whole;
}

GenerationResult Conversation::answer(Generator generator, const GenerationOptions& options, const TextSink& write,
                                      const GoesOn& goes_on) {
  const GenerationResult result = generator.generate(options, write, goes_on);
  if (result.finish == Finish::end) write(generator.flush());
  now_ = std::move(generator);
  return result;
}

GenerationResult Conversation::ask(std::string_view question, const GenerationOptions& options, const TextSink& write,
                                   const GoesOn& goes_on) {
  Generator generator = asked(), before = now_;
  generator.append(question);
  const GenerationResult result = answer(std::move(generator), options, write, goes_on);
  earlier_.push_back(std::move(before));
  if (earlier_.size() > most_undone) earlier_.pop_front();
  return result;
}

GenerationResult Conversation::go_on(const GenerationOptions& options, const TextSink& write, const GoesOn& goes_on) {
  return answer(now_, options, write, goes_on);
}

bool Conversation::undo() {
  if (earlier_.empty()) return false;
  now_ = std::move(earlier_.back());
  earlier_.pop_back();
  return true;
}

void Conversation::reset() {
  now_ = start_;
  earlier_.clear();
}

}  // namespace palimpsest
