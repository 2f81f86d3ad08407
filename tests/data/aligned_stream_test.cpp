#include "data/stream/aligned_stream.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "data/open_source.h"
#include "tests/data/numbered_file.h"
#include "tests/file_damage.h"

namespace palimpsest {
namespace {

using testing::NumberedFile;

constexpr std::int32_t begin_token = 999'998, end_token = 999'999;
constexpr std::int64_t segment = 4, window = 20, segments = 3, context = segment * segments;

/// Long prompts with short and long texts behind them, texts without a prompt, and short ones that share a window.
struct AlignedStreamTest : ::testing::Test {
  const std::vector<std::int64_t> lengths = {75, 5, 2, 64, 13, 50, 31, 1, 90, 14};
  const std::vector<std::int64_t> prompts = {70, 3, 0, 11, 12, 0, 12, 0, 41, 9};
  NumberedFile numbered{lengths, prompts};
  std::shared_ptr<const TokenFile> file = std::make_shared<const TokenFile>(numbered.file->path());
  SourceShape shape{.seed = 3, .batch_size = 3, .sequence_length = window, .segment_length = segment};

  AlignedStream stream() const { return {file, shape, segments}; }
  /// Which document a text token is of.
  std::size_t document_of(std::int32_t token) const {
    const auto offsets = numbered.file->document_offsets();
    return static_cast<std::size_t>(std::ranges::upper_bound(offsets, token) - offsets.begin() - 1);
  }
  /// Its place there, counted from the begin token.
  std::int64_t place_of(std::int32_t token) const {
    return token - numbered.file->document_offsets()[document_of(token)];
  }
  std::int64_t windows() const { return stream().epoch_tokens().value() / window; }
};

TEST_F(AlignedStreamTest, AStepBeginsItsSegmentsBeforeTheFirstTarget) {
  AlignedStream stream = this->stream();
  std::set<std::size_t> seen;
  for (std::int64_t step = 0; step < 2 * windows(); ++step) {
    const TokenBatch batch = stream.next({0, 3});
    for (std::size_t at = 0; at < batch.inputs.size(); ++at) {
      if (batch.loss_weights[at] == 0 || batch.targets[at] == end_token) continue;
      const std::size_t document = document_of(batch.targets[at]);
      if (place_of(batch.targets[at]) != prompts[document] + 1) continue;  // the first one behind the prompt
      seen.insert(document);
      const std::size_t row = at / window * window;
      if (prompts[document] + 1 > context) {
        EXPECT_EQ(at - row, context - 1) << "the last token of the segments before it predicts it";
        EXPECT_EQ(place_of(batch.inputs[row]), prompts[document] + 1 - context);
      } else if (prompts[document] > 0) {  // all there is of it is there
        EXPECT_EQ(batch.inputs[at - static_cast<std::size_t>(prompts[document])], begin_token);
        EXPECT_GE(at - row, static_cast<std::size_t>(prompts[document]));
      }
    }
  }
  EXPECT_EQ(seen.size(), lengths.size());
}

TEST_F(AlignedStreamTest, EveryLaneReadsEveryDocumentWholeAndOnce) {
  AlignedStream stream = this->stream();
  std::map<std::int32_t, int> read;
  for (std::int64_t round = 0; round < 2; ++round) {
    std::vector<std::map<std::int32_t, int>> of_lanes(3);
    std::vector<std::int32_t> before(3, end_token);
    std::vector<std::int64_t> document(3, -1);
    for (std::int64_t step = 0; step < windows(); ++step) {
      const TokenBatch batch = stream.next({0, 3});
      for (std::size_t at = 0; at < batch.inputs.size(); ++at) {
        const std::size_t lane = at / window;
        const std::int32_t token = batch.inputs[at];
        if (token < begin_token) {
          ++of_lanes[lane][token];
          EXPECT_EQ(batch.documents[at], document[lane]);
          EXPECT_EQ(token, before[lane] == begin_token ? token : before[lane] + 1) << "in order, without a gap";
        }
        if (token == begin_token) {
          EXPECT_GT(batch.documents[at], document[lane]);
        }
        EXPECT_GE(batch.documents[at], document[lane]);
        if (token == end_token) {
          EXPECT_EQ(batch.loss_weights[at], 0.0f);
        }
        before[lane] = token;
        document[lane] = batch.documents[at];
      }
    }
    for (const auto& of_lane : of_lanes) {
      std::size_t text = 0;
      for (const std::int32_t token : numbered.all) text += token < begin_token;
      EXPECT_EQ(of_lane.size(), text);
      for (const auto& [token, times] : of_lane) EXPECT_EQ(times, 1) << token;
    }
  }
}

TEST_F(AlignedStreamTest, EmptyPlacesAreDocumentsOfTheirOwn) {
  AlignedStream stream = this->stream();
  std::int64_t empty = 0;
  for (std::int64_t step = 0; step < windows(); ++step) {
    const TokenBatch batch = stream.next({1, 1});
    for (std::size_t at = 1; at < batch.inputs.size(); ++at) {
      const bool filled = batch.inputs[at] == end_token && batch.inputs[at - 1] == end_token;
      empty += filled;
      if (filled && at > 1 && batch.inputs[at - 2] == end_token) {
        EXPECT_EQ(batch.documents[at], batch.documents[at - 1]);
      }
      if (batch.inputs[at] == end_token && batch.inputs[at - 1] < begin_token) {  // a text's own end
        EXPECT_EQ(batch.documents[at], batch.documents[at - 1]);
        if (at + 1 < batch.inputs.size()) {
          EXPECT_NE(batch.documents[at], batch.documents[at + 1]);
        }
      }
    }
  }
  EXPECT_GT(empty, 10);
}

TEST_F(AlignedStreamTest, RanksShareTheSameStepsAndGoOnAnywhere) {
  AlignedStream whole = this->stream(), first = this->stream(), rest = this->stream();
  std::set<std::vector<std::int32_t>> different;
  for (std::int64_t step = 0; step < 3 * windows(); ++step) {
    const nlohmann::json state = nlohmann::json::parse(whole.state().dump());
    const TokenBatch batch = whole.next({0, 3}), one = first.next({0, 1}), two = rest.next({1, 2});
    AlignedStream later = this->stream();
    later.restore(state);
    const TokenBatch again = later.next({0, 3});
    EXPECT_EQ(batch.inputs, again.inputs);
    EXPECT_EQ(batch.documents, again.documents);
    std::vector<std::int32_t> inputs = one.inputs;
    inputs.insert(inputs.end(), two.inputs.begin(), two.inputs.end());
    EXPECT_EQ(batch.inputs, inputs);
    EXPECT_EQ(whole.state(), rest.state());
    different.insert(batch.inputs);
  }
  EXPECT_GT(different.size(), static_cast<std::size_t>(2 * windows())) << "every round is shuffled anew";
  nlohmann::json far = whole.state();
  far["steps"] = std::uint64_t{1} << 55;
  AlignedStream later = this->stream();
  later.restore(far);
  EXPECT_EQ(later.next({0, 3}).lanes, 3);
}

TEST_F(AlignedStreamTest, ShortDocumentsShareAStepOnlyWhereLanesAreNotLeftEmpty) {
  const NumberedFile short_ones({3, 3, 3, 3}, {0, 0, 0, 0});  // all fit into one step
  const auto four = std::make_shared<const TokenFile>(short_ones.file->path());
  AlignedStream stream(four, shape, segments);
  EXPECT_EQ(stream.epoch_tokens(), 3 * window);
  std::set<std::int32_t> first;
  for (const std::int64_t lane : {0, 1, 2}) {
    AlignedStream reader(four, shape, segments);
    first.insert(reader.next({lane, 1}).inputs[1]);
  }
  EXPECT_EQ(first.size(), 3u);
  shape.batch_size = 5;
  EXPECT_TRUE(holds(message_of<DataError>([&] { AlignedStream(four, shape, segments); }), "has 4 documents, each"));
}

TEST_F(AlignedStreamTest, RefusesWhatCannotBe) {
  AlignedStream stream = this->stream();
  nlohmann::json state = stream.state();
  state["task"]["segments_before_targets"] = 2;
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { stream.restore(state); }), "segments_before_targets was 2 and is 3"));
  state = stream.state();
  state["steps"] = -1;
  EXPECT_THROW(stream.restore(state), DataError);
  state["steps"] = std::uint64_t{1} << 62;
  EXPECT_THROW(stream.restore(state), DataError);
  EXPECT_THROW(stream.restore({{"steps", 1}}), ConfigError);
  EXPECT_THROW(stream.next({2, 2}), ConfigError);

  DataConfig config;
  config.train = numbered.file->path().string();
  config.segments_before_targets = 5;
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { open_source(config, shape); }), "20 has no room for targets"));
  config.segments_before_targets = 3;
  EXPECT_EQ(open_source(config, shape)->state(), this->stream().state());
  shape.batch_size = 50;
  EXPECT_TRUE(holds(message_of<DataError>([&] { open_source(config, shape); }), "train.batch_size is 50"));
  config.virtual_length = 2;
  EXPECT_THROW(open_source(config, shape), ConfigError);
  config.virtual_length = 1;
  config.mixture.resize(1);
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { open_source(config, shape); }), "data.train is a list"));
}

}  // namespace
}  // namespace palimpsest
