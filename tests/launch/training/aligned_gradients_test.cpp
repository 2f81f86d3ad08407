// Training on a document with a masked prompt in aligned steps: its gradient is that of its last K segments with the
// text behind them, on the memory of all before, detached.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "data/stream/aligned_stream.h"
#include "layers/training_pass.h"
#include "tests/launch/tiny_model.h"
#include "tests/layers/model_gradients.h"
#include "tests/temporary_directory.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

constexpr std::int64_t segment = 8, segments = 2, window = 32, prompt = 101, text = 112;

TEST(AlignedGradients, AreThoseOfTheLastSegmentsOnADetachedMemory) {
  const TemporaryDirectory directory;
  {
    const ByteTokenizer tokenizer;
    TokenFileWriter writer(directory / "pair.h5", tokenizer);
    writer.add_document("pair", tokenizer.encode(tiny_text(text, 1)), 2, text, {}, {{{0, prompt}}, 1, text - prompt});
    writer.finish();
  }
  const auto file = std::make_shared<const TokenFile>(directory / "pair.h5");
  MemoryPool pool;
  for (const MemoryUpdate update : {MemoryUpdate::linear, MemoryUpdate::delta}) {
    ModelConfig config = tiny_config();
    config.attention.memory_update = update;
    LanguageModel model(pool, config, DataType::float64);
    model.initialize(7);

    // As it is trained: window after window, the memory handed on.
    AlignedStream stream(file, {.seed = 1, .batch_size = 1, .sequence_length = window, .segment_length = segment},
                         segments);
    SequenceState memory = model.empty_state(pool, 1);
    const std::int64_t windows = stream.epoch_tokens().value() / window;
    ASSERT_EQ(windows, 4);
    double loss = 0;
    std::int64_t with_gradients = 0;
    std::vector<Tensor> gradients;
    for (std::int64_t step = 0; step < windows; ++step) {
      testing::Gradients pass = testing::gradients(model, pool, stream.next({0, 1}), memory, {});
      memory = pass.memory;
      loss += pass.loss;
      if (!pass.parameters.front().defined()) continue;
      ++with_gradients;
      gradients = std::move(pass.parameters);
    }
    EXPECT_EQ(with_gradients, 1) << "the other windows are read forward only";

    // By hand: all before the last segments in one pass without gradients, as segments that end where those begin.
    std::vector<std::int32_t> tokens = file->document_tokens(0, 0, text + 2);
    const std::int64_t begin = prompt + 1 - segments * segment, ragged = begin % segment;
    SequenceState before = model.empty_state(pool, 1);
    const auto batch_of = [&](std::int64_t from, std::int64_t to) {
      TokenBatch batch;
      batch.lanes = 1;
      batch.tokens = to - from;
      for (std::int64_t i = from; i < to; ++i) {
        const bool last = i + 1 == text + 2;
        batch.inputs.push_back(tokens[static_cast<std::size_t>(i)]);
        batch.targets.push_back(last ? 0 : tokens[static_cast<std::size_t>(i + 1)]);
        batch.documents.push_back(5);
        batch.loss_weights.push_back(i >= prompt && !last ? 1.0f : 0.0f);
      }
      return batch;
    };
    token_losses(model, pool, batch_of(0, ragged), before);
    token_losses(model, pool, batch_of(ragged, begin), before);
    const testing::Gradients expected = testing::gradients(model, pool, batch_of(begin, text + 2), before, {});
    EXPECT_NEAR(loss, expected.loss, 1e-12 * expected.loss);
    ASSERT_EQ(gradients.size(), expected.parameters.size());
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      EXPECT_LT(testing::relative_difference(gradients[i].to_doubles(), expected.parameters[i].to_doubles()), 1e-10)
          << model.parameters().all()[i].name;
    }
    // Gradients that reach a segment less far are others: the comparison can tell.
    SequenceState later = model.empty_state(pool, 1);
    token_losses(model, pool, batch_of(0, ragged), later);
    token_losses(model, pool, batch_of(ragged, begin + segment), later);
    const testing::Gradients shorter = testing::gradients(model, pool, batch_of(begin + segment, text + 2), later, {});
    EXPECT_NEAR(shorter.loss, expected.loss, 1e-12 * expected.loss);
    double most = 0;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      most = std::max(
          most, testing::relative_difference(shorter.parameters[i].to_doubles(), expected.parameters[i].to_doubles()));
    }
    EXPECT_GT(most, 1e-3);
  }
}

}  // namespace
}  // namespace palimpsest
