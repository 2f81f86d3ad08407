#include "data/stream/segment_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "tests/data/numbered_file.h"
#include "tests/file_damage.h"

namespace palimpsest {
namespace {

using testing::NumberedFile;

const std::vector<std::int64_t> some_lengths = {13, 0, 1, 40, 7, 22, 3, 5, 2, 31};

void expect_equal(const TokenBatch& a, const TokenBatch& b) {
  EXPECT_EQ(a.lanes, b.lanes);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.inputs, b.inputs);
  EXPECT_EQ(a.targets, b.targets);
  EXPECT_EQ(a.documents, b.documents);
  EXPECT_EQ(a.loss_weights, b.loss_weights);
}

/// What each lane read over some steps, one after the other.
struct Lane {
  std::vector<std::int32_t> inputs, targets;
  std::vector<std::int64_t> documents;
  std::vector<float> weights;
};

std::vector<Lane> read_lanes(SegmentStream& stream, std::int64_t steps) {
  std::vector<Lane> lanes;
  for (std::int64_t step = 0; step < steps; ++step) {
    const TokenBatch batch = stream.next();
    lanes.resize(static_cast<std::size_t>(batch.lanes));
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      const auto add = [&](auto& to, const auto& from) {
        const auto begin = from.begin() + static_cast<std::ptrdiff_t>(lane) * batch.tokens;
        to.insert(to.end(), begin, begin + batch.tokens);
      };
      add(lanes[lane].inputs, batch.inputs);
      add(lanes[lane].targets, batch.targets);
      add(lanes[lane].documents, batch.documents);
      add(lanes[lane].weights, batch.loss_weights);
    }
  }
  return lanes;
}

TEST(SegmentStream, ReadsEveryTokenOnceAnEpoch) {
  const NumberedFile numbered(some_lengths);
  const std::int64_t tokens = numbered.file->token_count();
  ASSERT_EQ(tokens, 144);
  std::vector<std::int32_t> sorted = numbered.all;
  std::sort(sorted.begin(), sorted.end());
  for (const std::int64_t batch_size : {1, 2, 3, 5, 7, 143, 144}) {
    SegmentStream stream(*numbered.file,
                         {.seed = 4, .batch_size = batch_size, .sequence_length = 1, .lane_count = batch_size});
    const std::int64_t shortest = tokens / batch_size, longer_lanes = tokens % batch_size;
    const auto lanes = read_lanes(stream, 3 * (shortest + 1));
    for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<std::int32_t> read;
      for (std::int64_t lane = 0; lane < batch_size; ++lane) {
        const std::int64_t length = shortest + (lane < longer_lanes ? 1 : 0);
        const auto begin = lanes[static_cast<std::size_t>(lane)].inputs.begin() + epoch * length;
        read.insert(read.end(), begin, begin + length);
      }
      std::sort(read.begin(), read.end());
      EXPECT_EQ(read, sorted) << "batch size " << batch_size << ", epoch " << epoch;
    }
  }
}

TEST(SegmentStream, TargetsAreTheSuccessorsInTheDocument) {
  const NumberedFile numbered(some_lengths);
  SegmentStream stream(*numbered.file, {.seed = 2, .batch_size = 5, .sequence_length = 7, .lane_count = 5});
  double weight = 0;
  // Five epochs for every lane whose run has 28 tokens, four tokens more for the others.
  const auto lanes = read_lanes(stream, 20);
  for (const Lane& lane : lanes) {
    for (std::size_t i = 0; i < lane.inputs.size(); ++i) {
      weight += lane.weights[i];
      if (lane.inputs[i] == 999'999) {
        EXPECT_EQ(lane.weights[i], 0);
        EXPECT_EQ(lane.targets[i], 0);
        continue;
      }
      EXPECT_EQ(lane.weights[i], 1);
      EXPECT_NE(lane.targets[i], 999'998);
      // A text token tells its offset in the file; the one after it in the file is its target.
      if (lane.inputs[i] != 999'998) {
        EXPECT_EQ(lane.targets[i], numbered.all[static_cast<std::size_t>(lane.inputs[i]) + 1]);
      } else if (lane.targets[i] != 999'999) {
        EXPECT_EQ(numbered.all[static_cast<std::size_t>(lane.targets[i]) - 1], 999'998);
      }
    }
  }
  EXPECT_GT(weight, 0.9 * 700 * 134 / 144);
}

TEST(SegmentStream, DocumentsGrowWhereMemoryStartsEmpty) {
  const NumberedFile numbered(some_lengths);
  SegmentStream stream(*numbered.file, {.seed = 2, .batch_size = 4, .sequence_length = 9, .lane_count = 4});
  for (const Lane& lane : read_lanes(stream, 40)) {
    const std::int64_t run = 36;
    for (std::size_t i = 1; i < lane.inputs.size(); ++i) {
      EXPECT_GE(lane.documents[i], lane.documents[i - 1]);
      const bool starts = lane.inputs[i] == 999'998 || i % run == 0;
      EXPECT_EQ(lane.documents[i] != lane.documents[i - 1], starts) << i;
      if (!starts) {
        EXPECT_EQ(lane.inputs[i], lane.targets[i - 1]);
      }
    }
  }
}

TEST(SegmentStream, RanksShareTheSameSamples) {
  const NumberedFile numbered(some_lengths);
  StreamConfig config{.seed = 8, .batch_size = 6, .sequence_length = 11, .lane_count = 6};
  SegmentStream whole(*numbered.file, config);
  const auto expected = read_lanes(whole, 30);
  for (const std::int64_t ranks : {2, 3, 6}) {
    config.lane_count = 6 / ranks;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      config.first_lane = rank * config.lane_count;
      SegmentStream part(*numbered.file, config);
      const auto lanes = read_lanes(part, 30);
      EXPECT_EQ(part.cursor(), whole.cursor());
      for (std::size_t i = 0; i < lanes.size(); ++i) {
        const Lane& same = expected[static_cast<std::size_t>(config.first_lane) + i];
        EXPECT_EQ(lanes[i].inputs, same.inputs);
        EXPECT_EQ(lanes[i].targets, same.targets);
        EXPECT_EQ(lanes[i].documents, same.documents);
        EXPECT_EQ(lanes[i].weights, same.weights);
      }
    }
  }
}

// What one of twelve lanes reads in a row, four lanes read at every third step.
TEST(SegmentStream, LanesReadPlacesInTurn) {
  const NumberedFile numbered(some_lengths);
  SegmentStream straight(*numbered.file, {.seed = 8, .batch_size = 12, .sequence_length = 11, .lane_count = 12});
  SegmentStream in_turn(*numbered.file,
                        {.seed = 8, .batch_size = 4, .sequence_length = 11, .lane_count = 4, .interleave = 3});
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(in_turn.epoch(), straight.epoch());
    const TokenBatch all = straight.next();
    for (std::int64_t turn = 0; turn < 3; ++turn) {
      const TokenBatch batch = in_turn.next();
      for (std::int64_t lane = 0; lane < 4; ++lane) {
        const TokenBatch one = lanes_of(batch, lane, lane + 1);
        expect_equal(one, lanes_of(all, lane * 3 + turn, lane * 3 + turn + 1));
      }
    }
  }
}

TEST(SegmentStream, SeekGoesOnExactly) {
  const NumberedFile numbered(some_lengths);
  const StreamConfig straight{.seed = 3, .batch_size = 4, .sequence_length = 10, .first_lane = 1, .lane_count = 3};
  StreamConfig in_turn = straight;
  in_turn.interleave = 3;
  for (const StreamConfig& config : {straight, in_turn}) {
    SegmentStream stream(*numbered.file, config);
    std::vector<TokenBatch> batches;
    std::vector<StreamCursor> cursors;
    for (int step = 0; step < 40; ++step) {
      cursors.push_back(stream.cursor());
      batches.push_back(stream.next());
    }
    // A fresh stream, and one that comes from elsewhere.
    for (std::size_t step = 0; step + 1 < batches.size(); ++step) {
      SegmentStream fresh(*numbered.file, config);
      fresh.seek(stream_cursor_from_json(nlohmann::json::parse(to_json(cursors[step]).dump())));
      expect_equal(fresh.next(), batches[step]);
      expect_equal(fresh.next(), batches[step + 1]);
      stream.seek(cursors[batches.size() - 1 - step]);
      expect_equal(stream.next(), batches[batches.size() - 1 - step]);
    }
  }
}

TEST(SegmentStream, SeekIsQuickAndFarPositionsWork) {
  const NumberedFile numbered(some_lengths);
  const StreamConfig config{.seed = 3, .batch_size = 5, .sequence_length = 10, .lane_count = 5};
  SegmentStream stream(*numbered.file, config);
  // So far on that lanes of 29 and of 28 tokens are many epochs apart.
  StreamCursor far = stream.cursor();
  far.steps = 1'000'000'000'000;
  stream.seek(far);
  const auto lanes = read_lanes(stream, 2);
  SegmentStream again(*numbered.file, config);
  ++far.steps;
  again.seek(far);
  const auto second = read_lanes(again, 1);
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    EXPECT_TRUE(std::equal(second[lane].inputs.begin(), second[lane].inputs.end(), lanes[lane].inputs.begin() + 10));
    EXPECT_TRUE(
        std::equal(second[lane].documents.begin(), second[lane].documents.end(), lanes[lane].documents.begin() + 10));
  }
}

TEST(SegmentStream, ShufflesBySeedAndEpoch) {
  const NumberedFile numbered(some_lengths);
  const auto epochs = [&](std::uint64_t seed) {
    SegmentStream stream(*numbered.file, {.seed = seed, .batch_size = 1, .sequence_length = 144, .lane_count = 1});
    std::vector<std::vector<std::int32_t>> result;
    for (int epoch = 0; epoch < 4; ++epoch) {
      EXPECT_EQ(stream.epoch(), epoch);
      result.push_back(stream.next().inputs);
    }
    return result;
  };
  const auto first = epochs(1), again = epochs(1), other = epochs(2);
  EXPECT_EQ(first, again);
  const std::set<std::vector<std::int32_t>> distinct{first[0], first[1], first[2], first[3],
                                                     other[0], other[1], other[2], other[3]};
  EXPECT_EQ(distinct.size(), 8u);
}

TEST(DocumentOrder, ShufflesEvenly) {
  const std::vector<std::int64_t> offsets = {0, 2, 5, 9};
  std::map<std::vector<std::int64_t>, int> counts;
  for (std::int64_t epoch = 0; epoch < 6000; ++epoch) {
    const DocumentOrder order(offsets, 1, epoch);
    std::vector<std::int64_t> documents;
    for (std::int64_t position = 0; position < 9; ++position) {
      const auto place = order.place(position);
      if (place.offset == 0) documents.push_back(place.document);
      EXPECT_EQ(place.rank, static_cast<std::int64_t>(documents.size()) - 1);
      EXPECT_EQ(place.document, documents.back());
    }
    ++counts[documents];
  }
  EXPECT_EQ(counts.size(), 6u);
  for (const auto& [documents, count] : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(SegmentStream, ReadsAcrossItsReadAhead) {
  // Documents longer than a window, with sequences shorter and longer than it.
  const NumberedFile numbered({2 * SegmentStream::read_ahead + 77, 10, SegmentStream::read_ahead - 1});
  for (const std::int64_t length : {std::int64_t{1000}, SegmentStream::read_ahead, 2 * SegmentStream::read_ahead + 5}) {
    SegmentStream stream(*numbered.file, {.seed = 1, .batch_size = 1, .sequence_length = length, .lane_count = 1});
    const auto lanes = read_lanes(stream, 1 + numbered.file->token_count() / length);
    for (std::size_t i = 1; i < lanes[0].inputs.size(); ++i) {
      const bool same_document = lanes[0].weights[i - 1] == 1;
      ASSERT_TRUE(!same_document || lanes[0].inputs[i] == lanes[0].targets[i - 1]) << i;
    }
  }
}

TEST(SegmentStream, RefusesImpossibleSizes) {
  const NumberedFile numbered({2});
  const TokenFile& file = *numbered.file;
  EXPECT_THROW(SegmentStream(file, {.batch_size = 0}), ConfigError);
  EXPECT_THROW(SegmentStream(file, {.sequence_length = 0}), ConfigError);
  EXPECT_THROW(SegmentStream(file, {.lane_count = 0}), ConfigError);
  EXPECT_THROW(SegmentStream(file, {.batch_size = 2, .first_lane = 1, .lane_count = 2}), ConfigError);
  EXPECT_THROW(SegmentStream(file, {.batch_size = 2, .first_lane = -1, .lane_count = 1}), ConfigError);
  EXPECT_TRUE(holds(message_of<DataError>([&] { SegmentStream(file, {.batch_size = 5, .lane_count = 5}); }),
                    "holds 4 tokens, too few for a batch of 5 lanes"));
  EXPECT_THROW(SegmentStream(file, {.interleave = 0}), ConfigError);
  EXPECT_TRUE(holds(message_of<DataError>([&] { SegmentStream(file, {.interleave = 5}); }),
                    "too few for a batch of 1 lanes, each of which reads 5 places in turn"));
}

TEST(SegmentStream, NamesWhatChangedSinceTheCursor) {
  const NumberedFile numbered(some_lengths), other({1, 2, 3});
  SegmentStream stream(*numbered.file, {.seed = 1, .batch_size = 2, .sequence_length = 3, .lane_count = 2});
  const auto message = [&](auto change) {
    StreamCursor cursor = stream.cursor();
    change(cursor);
    return message_of<ConfigError>([&] { stream.seek(cursor); });
  };
  EXPECT_TRUE(holds(message([](StreamCursor& c) { c.seed = 9; }), "seed was 9 and is 1"));
  EXPECT_TRUE(holds(message([](StreamCursor& c) { c.batch_size = 4; }), "batch_size was 4 and is 2"));
  EXPECT_TRUE(holds(message([](StreamCursor& c) { c.sequence_length = 4; }), "sequence_length was 4 and is 3"));
  EXPECT_TRUE(holds(message([](StreamCursor& c) { c.interleave = 2; }), "interleave was 2 and is 1"));
  const std::string changed = message([&](StreamCursor& c) { c.data_checksum = other.file->checksum(), c.seed = 2; });
  EXPECT_TRUE(holds(changed, numbered.file->path().string())) << changed;
  EXPECT_TRUE(holds(changed, "training data was " + other.file->checksum() + " and is " + numbered.file->checksum()));
  EXPECT_TRUE(holds(changed, "; seed was 2")) << changed;
  EXPECT_EQ(stream.cursor().steps, 0);
}

TEST(StreamCursor, ReadsOnlyWholeJson) {
  StreamCursor cursor{7, "abc", 18'446'744'073'709'551'615u, 4, 5, 6};
  EXPECT_EQ(stream_cursor_from_json(to_json(cursor)), cursor);
  nlohmann::json json = to_json(cursor);
  json.erase("interleave");
  cursor.interleave = 1;
  EXPECT_EQ(stream_cursor_from_json(json), cursor);
  json.erase("seed");
  EXPECT_TRUE(holds(message_of<DataError>([&] { stream_cursor_from_json(json); }), "\"seed\" is missing"));
  json = to_json(cursor);
  json["steps"] = -1;
  EXPECT_TRUE(holds(message_of<DataError>([&] { stream_cursor_from_json(json); }), "\"steps\" is -1"));
  json["steps"] = "7";
  EXPECT_THROW(stream_cursor_from_json(json), DataError);
  EXPECT_THROW(stream_cursor_from_json(nlohmann::json::array()), DataError);
}

}  // namespace
}  // namespace palimpsest
