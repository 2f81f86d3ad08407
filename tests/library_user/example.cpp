#include <algorithm>
#include <cstdint>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "launch/library/model.h"
#include "launch/library/model_training.h"

using namespace palimpsest;

// example RUN FOLDER: goes on with a text, puts it aside, trains the model a little and keeps that as a run of its own.
int main(int argument_count, char** arguments) try {
  if (argument_count != 3) throw ConfigError("usage: example RUN FOLDER");
  const std::string run = arguments[1], folder = arguments[2];
  const auto print = [](std::string_view text) { std::cout << text; };

  // Load, feed, look at the logits.
  Model model(run);
  Generator text = model.new_text();
  text.append("the memory of the");
  const std::span<const float> logits = text.logits();
  const auto likeliest = static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
  std::cout << text.tokens() << " tokens read, the likeliest token is " << likeliest << "\n";

  // Generate, and put aside what is remembered.
  const GenerationOptions options{.sampling = {.temperature = 0.8, .seed = 7}, .max_tokens = 20};
  text.generate(options, print);
  Model::save_text(folder + "/text.state", text);
  text.generate(options, print);
  std::cout << text.flush() << "\n";

  // Taken up again, it goes on with the same text.
  Generator again = model.open_text(folder + "/text.state");
  again.generate(options, print);
  std::cout << again.flush() << "\n";

  // Train on data of one's own: here four lines, each a document, step after step.
  std::vector<std::vector<std::int32_t>> lines;
  for (const char* line : {"the palimpsest", "written over", "again and again", "the memory"}) {
    std::vector<std::int32_t> tokens = model.tokenizer().encode(line);
    tokens.insert(tokens.begin(), model.tokenizer().begin_id());
    tokens.push_back(model.tokenizer().end_id());
    lines.push_back(tokens);
  }
  RunConfig config = model.config();
  config.train.batch_size = static_cast<std::int64_t>(lines.size());
  config.train.steps = 10;
  config.optimizer.warmup_steps = 2;
  config.optimizer.learning_rate = 3e-3;
  ModelTraining training(model, config);
  for (std::int64_t step = 0; step < config.train.steps; ++step) {
    const StepResult result = training.step(make_batch(lines, /*document=*/step));
    std::cout << "step " << step + 1 << ": loss " << result.loss << (result.skipped ? ", skipped" : "") << "\n";
  }
  model.save(folder + "/trained");  // `palimpsest generate FOLDER/trained` reads it
  return 0;
} catch (const Error& error) {
  std::cerr << "example: " << error.what() << "\n";
  return 1;
}
