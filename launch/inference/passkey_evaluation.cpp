#include "launch/inference/passkey_evaluation.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "layers/decode_state.h"

namespace palimpsest {

namespace {

/// Tokens of all of a rank's prompts that are read between two looks at the clock and at signals.
constexpr std::int64_t tokens_at_once = 1 << 15;

std::vector<std::int32_t> read(const PasskeyPrompt& prompt, std::int64_t begin, std::int64_t end) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(std::max<std::int64_t>(end - begin, 0)));
  if (!tokens.empty()) prompt.read(begin, tokens);
  return tokens;
}

std::int32_t likeliest(const Tensor& logits, std::int64_t row, const Tokenizer& tokenizer) {
  const auto width = static_cast<std::size_t>(logits.shape()[-1]);
  const auto choices = logits.values<float>()
                           .subspan(static_cast<std::size_t>(row) * width, width)
                           .first(static_cast<std::size_t>(tokenizer.vocab_size()));
  return static_cast<std::int32_t>(std::ranges::max_element(choices) - choices.begin());
}

}  // namespace

PasskeyEvaluation::PasskeyEvaluation(const LanguageModel& model, std::shared_ptr<const PasskeyLanguage> language,
                                     const PasskeyOptions& options, Communicator& communicator, MemoryPool& pool)
    : model_(model), language_(std::move(language)), options_(options), communicator_(communicator), pool_(pool) {
  if (language_->tokenizer().vocab_size() > model.config().vocab_size) {
    throw DataError(fmt::format("the tokenizer {} has {} tokens, the model only {}", language_->tokenizer().identity(),
                                language_->tokenizer().vocab_size(), model.config().vocab_size));
  }
}

PasskeyPrompt PasskeyEvaluation::prompt(const PasskeyCell& cell, std::int64_t sample) const {
  Draws draws(Random(options_.seed, RandomPurpose::evaluation, static_cast<std::uint64_t>(cell.length),
                     static_cast<std::uint32_t>(sample)));
  return PasskeyPrompt::for_evaluation(language_, cell.length, cell.depth, draws);
}

std::vector<std::int64_t> PasskeyEvaluation::missing(const PasskeyCell& cell) const {
  std::vector<std::int64_t> numbers;
  for (std::int64_t i = 0; i < options_.samples; ++i) {
    if (std::ranges::find(cell.samples, i, &PasskeySample::sample) == cell.samples.end()) numbers.push_back(i);
  }
  return numbers;
}

std::vector<PasskeyEvaluation::Batch> PasskeyEvaluation::plan(const std::vector<PasskeyCell>& cells) const {
  const std::int64_t segment = model_.config().segment_length;
  std::vector<Batch> batches;
  for (std::size_t cell = 0; cell < cells.size(); ++cell) {
    for (std::vector<std::int64_t> left = missing(cells[cell]); !left.empty();) {
      const auto count = static_cast<std::int64_t>(left.size());
      const std::int64_t each =
          std::min((count + communicator_.size() - 1) / communicator_.size(), options_.batch_size);
      const std::int64_t begin = std::min(communicator_.rank() * each, count);
      Batch batch{cell, {left.begin() + begin, left.begin() + std::min(begin + each, count)}, cells[cell].length};
      for (const std::int64_t sample : batch.samples) {
        batch.fork = std::min(batch.fork, prompt(cells[cell], sample).shared_beginning() / segment * segment);
      }
      batches.push_back(std::move(batch));
      left.erase(left.begin(), left.begin() + std::min(each * communicator_.size(), count));
    }
  }
  return batches;
}

bool PasskeyEvaluation::run(std::vector<PasskeyCell>& cells, const BetweenChunks& between,
                            const SamplesComplete& complete) {
  for (const PasskeyCell& cell : cells)
    static_cast<void>(prompt(cell, 0));  // says what does not fit before any is read
  const std::vector<Batch> batches = plan(cells);
  std::map<std::int64_t, int> forks;
  progress_ = {};
  for (const Batch& batch : batches) {
    if (batch.samples.empty()) continue;
    ++forks[batch.fork];
    progress_.all += static_cast<std::int64_t>(batch.samples.size()) * (cells[batch.cell].length - batch.fork);
  }
  if (!forks.empty()) progress_.all += forks.rbegin()->first;
  communicator_.all_reduce_sum(std::span(&progress_.all, 1));
  SharedBeginning beginning(model_, pool_, std::move(forks));
  for (const Batch& batch : batches) {
    PasskeyCell& cell = cells[batch.cell];
    std::vector<PasskeySample> answered;
    if (!answer(cell, batch, beginning, between, answered)) return false;
    for (const auto& bytes : communicator_.all_gather(std::as_bytes(std::span(answered)))) {
      std::vector<PasskeySample> theirs(bytes.size() / sizeof(PasskeySample));
      if (!theirs.empty()) std::memcpy(theirs.data(), bytes.data(), bytes.size());
      cell.samples.insert(cell.samples.end(), theirs.begin(), theirs.end());
    }
    std::ranges::sort(cell.samples, {}, &PasskeySample::sample);
    if (complete) complete(cells);
  }
  return true;
}

bool PasskeyEvaluation::answer(const PasskeyCell& cell, const Batch& batch, SharedBeginning& beginning,
                               const BetweenChunks& between, std::vector<PasskeySample>& answered) {
  std::vector<PasskeyPrompt> prompts;
  std::int64_t first_answer = cell.length;
  for (const std::int64_t sample : batch.samples) {
    prompts.push_back(prompt(cell, sample));
    const PasskeyPrompt& mine = prompts.back();
    answered.push_back({sample, mine.answer_end() - mine.answer_begin(), 0, right_without_memory(mine)});
    first_answer = std::min(first_answer, mine.answer_begin());
  }
  const auto lanes = static_cast<std::int64_t>(prompts.size());
  std::optional<DecodeState> state;

  // Passes [begin, end) of every prompt, or what of it is not past its last token but one: that only has to be guessed.
  const auto advance = [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::vector<std::int32_t>> tokens;
    bool any = false;
    for (const PasskeyPrompt& prompt : prompts) {
      tokens.push_back(read(prompt, begin, std::min(end, prompt.answer_end() - 1)));
      any = any || !tokens.back().empty();
    }
    if (!any) return;
    const Tensor logits = state->advance(tokens);
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      const auto index = static_cast<std::size_t>(lane);
      const std::int64_t next = begin + static_cast<std::int64_t>(tokens[index].size());
      if (tokens[index].empty() || next < prompts[index].answer_begin()) continue;
      answered[index].right +=
          likeliest(logits, lane, language_->tokenizer()) == read(prompts[index], next, next + 1).front();
    }
  };
  // What of [begin, end) is not read yet. Returns how many tokens that were.
  const auto read_on = [&](std::int64_t begin, std::int64_t end) {
    std::int64_t count = begin < batch.fork ? beginning.read(prompts.front(), std::min(end, batch.fork)) : 0;
    begin = std::max(begin, batch.fork);
    if (begin >= end) return count;
    if (!state) state.emplace(beginning.take(batch.fork, lanes));
    advance(begin, std::min(end, first_answer));
    for (std::int64_t at = std::max(begin, first_answer); at < end; ++at) advance(at, at + 1);
    return count + lanes * (end - begin);
  };

  // Prompts of one length, and so all ranks, take the same number of chunks.
  const std::int64_t segment = model_.config().segment_length;
  const std::int64_t chunk = std::max(tokens_at_once / options_.batch_size / segment, std::int64_t{1}) * segment;
  for (std::int64_t begin = 0; begin < cell.length; begin += chunk) {
    std::int64_t count = lanes > 0 ? read_on(begin, std::min(begin + chunk, cell.length)) : 0;
    communicator_.all_reduce_sum(std::span(&count, 1));
    progress_.done += count;
    if (between && between(progress_)) return false;
  }
  return true;
}

std::int64_t PasskeyEvaluation::right_without_memory(const PasskeyPrompt& prompt) const {
  const std::int64_t segment = model_.config().segment_length;
  std::int64_t right = 0;
  std::optional<DecodeState> state;
  for (std::int64_t last = prompt.answer_begin() - 1; last + 1 < prompt.answer_end(); ++last) {
    // Every segment starts as a document does.
    const bool starts = !state || last % segment == 0;
    if (starts) state.emplace(model_, pool_, 1);
    const Tensor logits = state->advance(read(prompt, starts ? last - last % segment : last, last + 1));
    right += likeliest(logits, 0, language_->tokenizer()) == read(prompt, last + 1, last + 2).front();
  }
  return right;
}

std::string write_answer(const LanguageModel& model, const PasskeyLanguage& language, const PasskeyPrompt& prompt,
                         MemoryPool& pool, const std::function<bool(const EvaluationProgress&)>& progress) {
  DecodeState state(model, pool);
  Tensor logits;
  const std::int64_t segment = model.config().segment_length;
  const std::int64_t chunk = std::max(tokens_at_once / segment, std::int64_t{1}) * segment;
  for (std::int64_t begin = 0; begin < prompt.answer_begin(); begin += chunk) {
    const std::int64_t end = std::min(begin + chunk, prompt.answer_begin());
    logits = state.advance(read(prompt, begin, end));
    if (progress && progress({end, prompt.answer_begin()})) return {};
  }
  std::vector<std::int32_t> answer;
  for (std::int64_t left = prompt.answer_end() - prompt.answer_begin(); left > 0; --left) {
    answer.push_back(likeliest(logits, 0, language.tokenizer()));
    if (left > 1) logits = state.advance(answer.back());
  }
  return language.tokenizer().decode(answer);
}

}  // namespace palimpsest
