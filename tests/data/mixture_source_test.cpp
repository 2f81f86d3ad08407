// Several sources as one: their shares, whole documents, and that a step's content follows from the step.
#include "data/stream/mixture_source.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "data/open_source.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

constexpr std::int64_t segment = 64;

/// A token file whose documents hold one letter each, so that any stretch tells its document; begin 256, end 257.
std::string write_file(const TemporaryDirectory& directory, const std::string& name, char first,
                       const std::vector<std::int64_t>& lengths) {
  const std::filesystem::path path = directory / (name + ".h5");
  TokenFileWriter writer(path, ByteTokenizer());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    std::vector<std::int32_t> text(static_cast<std::size_t>(lengths[i]), first + static_cast<std::int32_t>(i % 20));
    writer.add_document("", text, 1, lengths[i]);
  }
  writer.finish();
  return path.string();
}

class MixtureTest : public testing::Test {
 protected:
  MixtureTest() {
    std::vector<std::int64_t> books, notes;
    for (std::int64_t i = 0; i < 40; ++i) books.push_back(700 + 37 * i);
    for (std::int64_t i = 0; i < 300; ++i) notes.push_back(20 + i % 50);
    books_ = write_file(directory_, "books", 'a', books);
    notes_ = write_file(directory_, "notes", 'A', notes);
  }

  static MixtureEntry text(const std::string& file, double weight) {
    MixtureEntry entry;
    entry.file = file;
    entry.weight = weight;
    return entry;
  }
  static MixtureEntry passkey(double weight) {
    MixtureEntry entry;
    entry.kind = DataKind::passkey;
    entry.weight = weight;
    entry.passkey.stages = {{16, 10, 0}};  // in bytes, prompts are long
    return entry;
  }
  static SourceShape shape(std::int64_t lanes) {
    return {.seed = 5, .batch_size = lanes, .sequence_length = long_, .segment_length = segment};
  }

  static constexpr std::int64_t long_ = 16 * segment;
  TemporaryDirectory directory_;
  std::string books_, notes_;
};

std::map<int, std::int64_t> tokens_by_source(MixtureSource& source, std::int64_t lanes, std::int64_t steps) {
  std::map<int, std::int64_t> tokens;
  for (std::int64_t step = 0; step < steps; ++step) {
    for (const std::uint8_t number : source.next({0, lanes}).sources) ++tokens[number];
  }
  return tokens;
}

void expect_equal(const TokenBatch& a, const TokenBatch& b) {
  EXPECT_EQ(a.inputs, b.inputs);
  EXPECT_EQ(a.targets, b.targets);
  EXPECT_EQ(a.documents, b.documents);
  EXPECT_EQ(a.loss_weights, b.loss_weights);
  EXPECT_EQ(a.write_weights, b.write_weights);
  EXPECT_EQ(a.answers, b.answers);
  EXPECT_EQ(a.sources, b.sources);
}

TEST_F(MixtureTest, SharesOfTokensAreTheWeights) {
  const MixtureEntry prompts = passkey(1);
  for (const std::int64_t lanes : {1, 2, 3, 8}) {
    // As many tokens as a few readings of everything.
    const std::int64_t steps = 1024 / lanes;
    MixtureSource source({text(books_, 3), prompts, text(notes_, 1.5)}, shape(lanes));
    const double all = static_cast<double>(steps * lanes * long_);
    auto tokens = tokens_by_source(source, lanes, steps);
    EXPECT_NEAR(static_cast<double>(tokens[0]) / all, 3 / 5.5, 0.01) << lanes << " lanes";
    EXPECT_NEAR(static_cast<double>(tokens[1]) / all, 1 / 5.5, 0.01) << lanes << " lanes";
    EXPECT_NEAR(static_cast<double>(tokens[2]) / all, 1.5 / 5.5, 0.01) << lanes << " lanes";
  }
}

TEST_F(MixtureTest, ASpanHoldsTheSharesExactlyAndReadsEveryFileThrough) {
  const auto books = std::make_shared<const TokenFile>(books_), notes = std::make_shared<const TokenFile>(notes_);
  const std::vector<MixedFile> files = {{books, 0.9, 1, 0}, {notes, 0.1, 1, 1}};
  const MixedSpan span(files);
  EXPECT_NEAR(static_cast<double>(span.tokens(1)) / static_cast<double>(span.tokens()), 0.1, 1e-4);
  EXPECT_GE(span.tokens(0), books->token_count());
  EXPECT_GE(span.tokens(1), notes->token_count());
  // Three spans on end are each file's epochs on end: every token of each epoch once.
  std::vector<std::vector<std::int64_t>> read(2);
  for (std::int64_t number = 0; number < 3; ++number) {
    const MixedOrder order(files, span, 7, number);
    std::int64_t in_books = 0;
    for (std::int64_t at = 0; at < span.tokens();) {
      const MixedOrder::Part& part = order.at(at);
      ASSERT_EQ(part.begin, at);
      ASSERT_LE(part.token + part.count, part.document_end);
      if (part.file == 0) in_books += part.count;
      for (std::int64_t i = 0; i < part.count; ++i) read[part.file].push_back(part.token + i);
      // Every stretch has the shares, to within two of the longest documents.
      EXPECT_NEAR(static_cast<double>(in_books), 0.9 * static_cast<double>(at + part.count), 2 * 2200);
      at += part.count;
    }
    EXPECT_EQ(in_books, span.tokens(0));
  }
  for (std::size_t file = 0; file < 2; ++file) {
    const auto epoch = static_cast<std::ptrdiff_t>(files[file].file->token_count());
    for (auto begin = read[file].begin(); read[file].end() - begin >= epoch; begin += epoch) {
      std::sort(begin, begin + epoch);
      for (std::ptrdiff_t i = 0; i < epoch; ++i) ASSERT_EQ(begin[i], i) << "file " << file;
    }
  }
}

TEST_F(MixtureTest, LanesKeepDocumentsWhole) {
  MixtureSource source({text(books_, 1), text(notes_, 1)}, shape(2));
  std::vector<std::int32_t> inputs, targets;
  std::vector<std::int64_t> documents;
  std::vector<float> weights;
  for (int step = 0; step < 60; ++step) {
    const TokenBatch batch = source.next({1, 1});
    inputs.insert(inputs.end(), batch.inputs.begin(), batch.inputs.end());
    targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
    documents.insert(documents.end(), batch.documents.begin(), batch.documents.end());
    weights.insert(weights.end(), batch.loss_weights.begin(), batch.loss_weights.end());
  }
  int cut = 0;
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    ASSERT_GE(documents[i], documents[i - 1]);
    if (documents[i] == documents[i - 1]) {
      ASSERT_EQ(inputs[i], targets[i - 1]) << i;
      ASSERT_EQ(weights[i - 1], 1) << i;
      continue;
    }
    ASSERT_EQ(documents[i], static_cast<std::int64_t>(i)) << "the token that it begins with";
    if (inputs[i] != 256 || inputs[i - 1] != 257) ++cut;
    ASSERT_EQ(weights[i - 1], inputs[i - 1] == 257 ? 0 : 1);
  }
  // Only where a run ends, and the two documents that the ends of a span cut.
  const MixedSpan span(std::vector<MixedFile>{{std::make_shared<const TokenFile>(books_), 0.5, 1, 0},
                                              {std::make_shared<const TokenFile>(notes_), 0.5, 1, 1}});
  EXPECT_LE(cut, 4 * (1 + 60 * long_ / (span.tokens() / 2)));
}

TEST_F(MixtureTest, BreaksOfALaneAreBreaksOfItsDocuments) {
  // One lane in turns: text resumes where it was, as another document.
  const MixtureEntry prompts = passkey(1);
  MixtureSource source({text(books_, 1), prompts}, shape(1));
  std::int64_t last = -1, switches = 0;
  int before = -1;
  std::vector<std::int32_t> read, expected;
  for (int step = 0; step < 130; ++step) {
    const TokenBatch batch = source.next({0, 1});
    ASSERT_GE(batch.documents.front(), last);
    if (before >= 0 && before != batch.sources.front()) {
      ++switches;
      EXPECT_GT(batch.documents.front(), last) << "the memory starts empty";
    }
    ASSERT_TRUE(std::ranges::is_sorted(batch.documents));
    last = batch.documents.back();
    before = batch.sources.front();
    if (before == 0) read.insert(read.end(), batch.inputs.begin(), batch.inputs.end());
    const bool answers = std::ranges::any_of(batch.answers, [](std::uint8_t answer) { return answer != 0; });
    EXPECT_EQ(answers, before == 1);
    if (before == 0) {
      EXPECT_EQ(std::ranges::count(batch.write_weights, 1.0f), long_);
    }
  }
  EXPECT_GE(switches, 6);
  MixtureSource alone({text(books_, 1)}, shape(1));
  while (expected.size() < read.size()) {
    const TokenBatch batch = alone.next({0, 1});
    expected.insert(expected.end(), batch.inputs.begin(), batch.inputs.end());
  }
  EXPECT_EQ(read, expected) << "no token of the text is left out";
}

TEST_F(MixtureTest, LanesDoNotDependOnHowTheyAreShared) {
  const MixtureEntry prompts = passkey(1);
  const std::vector<MixtureEntry> entries = {text(books_, 1.2), prompts, text(notes_, 1)};
  for (const std::int64_t ranks : {2, 4}) {
    MixtureSource whole(entries, shape(4));
    std::vector<std::unique_ptr<MixtureSource>> parts;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      parts.push_back(std::make_unique<MixtureSource>(entries, shape(4)));
    }
    for (int step = 0; step < 70; ++step) {
      const TokenBatch all = whole.next({0, 4});
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        const std::int64_t count = 4 / ranks;
        expect_equal(parts[static_cast<std::size_t>(rank)]->next({rank * count, count}),
                     lanes_of(all, rank * count, (rank + 1) * count));
      }
    }
    for (const auto& part : parts) EXPECT_EQ(part->state(), whole.state());
  }
}

TEST_F(MixtureTest, AResumedStateGoesOnAlike) {
  MixtureEntry prompts = passkey(1);
  prompts.passkey.stages = {{16, 1, 0}, {16, 100, 0}};
  prompts.passkey.advance_over = 2;
  const std::vector<MixtureEntry> entries = {text(books_, 1.2), prompts, text(notes_, 1)};
  MixtureSource through(entries, shape(3));
  std::vector<SourceTotals> totals(3);
  totals[1].answers = {99, 100};
  for (int step = 0; step < 45; ++step) {
    through.next({0, 3});
    through.observe_each(totals);
  }
  EXPECT_EQ(through.position(), "stage 2 of 2");
  MixtureSource resumed(entries, shape(3));
  resumed.restore(nlohmann::json::parse(through.state().dump()));
  for (int step = 0; step < 45; ++step) {
    expect_equal(resumed.next({0, 3}), through.next({0, 3}));
    through.observe_each(totals);
    resumed.observe_each(totals);
  }
  EXPECT_EQ(resumed.state(), through.state());
}

TEST_F(MixtureTest, AnotherMixtureIsRefused) {
  MixtureSource source({text(books_, 3), text(notes_, 1)}, shape(2));
  source.next({0, 2});
  const nlohmann::json state = source.state();
  const auto refusal = [&](const std::vector<MixtureEntry>& entries) {
    MixtureSource other(entries, shape(2));
    return message_of<ConfigError>([&] { other.restore(state); });
  };
  EXPECT_NE(refusal({text(books_, 2), text(notes_, 1)}).find("source 0 was"), std::string::npos);
  EXPECT_NE(refusal({text(notes_, 3), text(books_, 1)}).find("source 0 was"), std::string::npos);
  EXPECT_NE(refusal({text(books_, 3)}).find("sources was 2 and is 1"), std::string::npos);
  MixtureSource again({text(books_, 3), text(notes_, 1)}, shape(2));
  EXPECT_THROW(again.restore({{"kind", "passkey"}}), ConfigError);
  EXPECT_THROW(again.restore({{"kind", "mixture"}}), DataError);
  nlohmann::json damaged = state;
  damaged["steps"] = -1;
  EXPECT_THROW(again.restore(damaged), DataError);
  damaged = state;
  damaged["passkey"] = nlohmann::json::array({1});
  EXPECT_THROW(again.restore(damaged), DataError);
  again.restore(state);
}

TEST_F(MixtureTest, VirtualLengthIsTheSourcesOwn) {
  MixtureEntry repeated = text(books_, 1);
  repeated.virtual_length = 1000;
  MixtureSource source({repeated, text(notes_, 1)}, shape(2));
  float most = 0;
  for (int step = 0; step < 40; ++step) {
    const TokenBatch batch = source.next({0, 2});
    for (std::size_t i = 0; i < batch.sources.size(); ++i) {
      if (batch.sources[i] == 1) {
        ASSERT_EQ(batch.write_weights[i], 1);
      } else {
        most = std::max(most, batch.write_weights[i]);
      }
    }
  }
  EXPECT_GT(most, 10);
  EXPECT_TRUE(MixtureSource({text(books_, 1)}, shape(1)).next({0, 1}).write_weights.empty());
}

TEST_F(MixtureTest, Mistakes) {
  const auto refusal = [&](const std::vector<MixtureEntry>& entries) {
    try {
      MixtureSource(entries, shape(2));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(refusal({text("", 1)}).find("data.train[0].file is empty"), std::string::npos);
  EXPECT_NE(refusal({text(books_, 1), text("missing.h5", 1)}).find("missing.h5"), std::string::npos);
  EXPECT_NE(refusal({text(books_, 1), text(notes_, 1e-5)}).find("data.train[1].weight is 1e-05"), std::string::npos);
  MixtureEntry prompts = passkey(1);
  prompts.passkey.stages = {{16, 1, 0}};
  prompts.passkey.tokenizer = "passkey";
  EXPECT_NE(refusal({text(books_, 1), prompts}).find("data.train[1]: the tokenizer of its prompts is words:"),
            std::string::npos);
  prompts.passkey.tokenizer = "bytes";
  EXPECT_EQ(refusal({text(books_, 1), prompts}), "accepted");
  prompts.passkey.stages = {{17, 1, 0}};
  EXPECT_NE(refusal({text(books_, 1), prompts}).find("data.train[1]: passkey: a stage has 17 segments"),
            std::string::npos);
  prompts.passkey = PasskeyConfig{.tokenizer = {}};
  EXPECT_EQ(refusal({prompts}), "accepted") << "prompts alone are of their own tokenizer";
  DataConfig config;
  config.mixture = {text(books_, 1)};
  config.virtual_length = 2;
  EXPECT_THROW(open_source(config, shape(1)), ConfigError);
}

TEST_F(MixtureTest, NamesItsSources) {
  MixtureEntry named = text(books_, 2);
  named.name = "old";
  const MixtureSource source({text(books_, 1), named, text(books_, 1)}, shape(1));
  EXPECT_EQ(source.mixed(), (std::vector<std::string>{"books", "old", "books-2"}));
  EXPECT_NE(source.description().find("50 % old"), std::string::npos);
  EXPECT_EQ(source.tokenizer_identity(), "bytes");
}

}  // namespace
}  // namespace palimpsest
