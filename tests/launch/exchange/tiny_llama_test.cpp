// The loss of a real model when it decodes token by token. Runs over the folder that `tests/tiny_llama.py ... --keep
// FOLDER` leaves, with PALIMPSEST_TINY_LLAMA=FOLDER; without it there is nothing to run over.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <gtest/gtest.h>

#include "launch/exchange/import_model.h"
#include "launch/training/saved_model.h"
#include "layers/decode_state.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

/// Mean negative log-likelihood of all tokens but the first, in nats.
double decoded_loss(const LanguageModel& model, const std::vector<std::int32_t>& tokens) {
  MemoryPool pool;
  DecodeState state(model, pool);
  double sum = 0;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    const std::vector<double> logits = state.advance(tokens[i]).to_doubles();
    const double largest = std::ranges::max(logits);
    double total = 0;
    for (const double logit : logits) total += std::exp(logit - largest);
    sum += largest + std::log(total) - logits[static_cast<std::size_t>(tokens[i + 1])];
  }
  return sum / static_cast<double>(tokens.size() - 1);
}

TEST(TinyLlama, DecodesWithTheLossOfTheOriginal) {
  const char* folder = std::getenv("PALIMPSEST_TINY_LLAMA");
  if (folder == nullptr) GTEST_SKIP() << "PALIMPSEST_TINY_LLAMA names no folder";
  const TemporaryDirectory directory;
  const std::unique_ptr<Communicator> communicator = single_process();
  std::string sample = file_content(std::filesystem::path(folder) / "sample_greedy.txt");
  while (sample.ends_with('\n')) sample.pop_back();
  for (const auto& [precision, tolerance] : {std::pair("float32", 2e-6), std::pair("bfloat16", 3e-3)}) {
    import_model({folder, directory / precision, {std::string("train.precision=") + precision}, ""}, *communicator);
    MemoryPool pool;
    const SavedModel saved = open_model(directory / precision, 0, *communicator, pool);
    std::vector<std::int32_t> tokens = saved.tokenizer->encode(sample);
    tokens.insert(tokens.begin(), saved.tokenizer->begin_id());
    ASSERT_EQ(tokens.size(), 257u);
    const double loss = decoded_loss(*saved.model, tokens);
    std::printf("%s: %.6f nats a token\n", precision, loss);
    EXPECT_NEAR(loss, 0.457346, tolerance) << precision;
  }
}

}  // namespace
}  // namespace palimpsest
