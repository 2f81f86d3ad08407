#include "launch/commands/generation.h"

#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "data/text/byte_pair_tokenizer.h"
#include "launch/commands/command.h"
#include "launch/inference/generator_file.h"
#include "launch/ranks/threads.h"
#include "launch/training/run_plan.h"

namespace palimpsest {

void add_generation_options(CLI::App& command, GenerationCommand& options) {
  SamplingOptions& sampling = options.generation.sampling;
  add_model_options(command, options.model, options.step);
  command.add_option("--max-tokens", options.generation.max_tokens, "Stop after so many tokens (default: 200)")
      ->check(whole_number_from(0));
  command
      .add_option("--stop", options.generation.stop,
                  "Stop where this text comes, which is not printed; may be given several times")
      ->type_name("TEXT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_option("--temperature", sampling.temperature, "0 always takes the likeliest token (default: 1)");
  command.add_option("--top-k", sampling.top_k, "Sample among the k likeliest tokens (default: 0, all)");
  command.add_option("--top-p", sampling.top_p, "Sample among the likeliest tokens that reach p (default: 1, all)");
  command.add_option("--min-p", sampling.min_p,
                     "Sample among the tokens at least p times as likely as the likeliest (default: 0, all)");
  command.add_option("--repetition-penalty", sampling.repetition_penalty,
                     "More than 1 makes tokens that the text has already less likely (default: 1)");
  command
      .add_option("--no-repeat-ngram", sampling.no_repeat_ngram,
                  "No so many tokens in a row come twice in what is generated (default: 0, any may)")
      ->check(whole_number_from(0))
      ->type_name("N");
  command
      .add_option("--min-tokens", sampling.min_tokens,
                  "The model does not end the text before it has so many tokens (default: 0)")
      ->check(whole_number_from(0));
  command
      .add_option("--beams", options.generation.beams,
                  "Search for the likeliest text with so many side by side, instead of drawing one (default: 1, draw)")
      ->check(CLI::Range(std::int64_t{1}, most_beams));
  command.add_option("--length-penalty", options.generation.length_penalty,
                     "Of that search: logarithms of probabilities are divided by length to this power (default: 1)");
  command.add_option("--seed", sampling.seed, "Of the random numbers (default: 1)");
  command.add_option("--state", options.state, "Go on from what --save-state or chat's /save wrote")->type_name("FILE");
  command.add_option("--threads", options.threads, "Threads (default: the cores there are)")
      ->check(whole_number_from(1));
}

SavedModel open_for_generation(const GenerationCommand& options, Communicator& communicator, RunLog& log,
                               MemoryPool& pool) {
  check(options.generation);
  const ThreadPlan threads = configure_threads(options.threads, communicator);
  for (const std::string& warning : threads.warnings) log.warn(warning);
  SavedModel saved = open_model(options.model, options.step, communicator, pool);
  if (const auto text = precision_warning(saved.config.train.precision, saved.model->compute_type()); !text.empty()) {
    log.warn(text);
  }
  if (options.special_tokens) saved.tokenizer = with_special_tokens(std::move(saved.tokenizer));
  return saved;
}

Generator make_generator(const GenerationCommand& options, const SavedModel& saved, MemoryPool& pool) {
  if (options.state.empty()) return {*saved.model, *saved.tokenizer, pool};
  return open_generator(options.state, *saved.model, *saved.tokenizer, pool);
}

ReadingProgress::ReadingProgress(const Generator& generator, RunLog& log)
    : generator_(generator), begin_(generator.tokens()), all_(generator.unread()), line_(log, "reading: ") {}

}  // namespace palimpsest
