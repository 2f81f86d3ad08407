// Masked spans in token files: what is stored, what is refused, and which targets lose their weight.
#include "data/tokens/token_masks.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "data/stream/mixture_source.h"
#include "data/stream/segment_stream.h"
#include "data/tokens/token_file.h"
#include "data/tokens/token_shards.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

/// Lower-case letters are masked.
TextMasks masks_of(const std::string& text) {
  TextMasks masks{.target_words = 1};
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    if (text[i] >= 'a' && text[i] <= 'z') masks.spans.push_back({at, at + 1});  // the writer joins them
    if (text[i] >= 'A' && text[i] <= 'Z') ++masks.target_bytes;
  }
  return masks;
}

const std::vector<std::string> texts = {"PLAIN", "abcDEf", "ALSO", "aB", "xyZZyXX", "Q"};

void write(const fs::path& path, std::size_t begin, std::size_t end) {
  TokenFileWriter writer(path, ByteTokenizer(), true);
  for (std::size_t i = begin; i < end; ++i) {
    const auto size = static_cast<std::int64_t>(texts[i].size());
    writer.add_document(std::to_string(i), ByteTokenizer().encode(texts[i]), 2, size, {}, masks_of(texts[i]));
  }
  writer.finish();
}

TEST(TokenMasks, AreHeldAsSpansOfTheFile) {
  const TemporaryDirectory directory;
  write(directory / "a.h5", 0, texts.size());
  const TokenFile file(directory / "a.h5");
  file.verify();
  // <PLAIN> is tokens 0 to 6, <abcDEf> 7 to 14, <ALSO> 15 to 20, <aB> 21 to 24, <xyZZyXX> 25 to 33. The end token goes
  // with a masked "f".
  const std::vector<TokenSpan> all = {{8, 11}, {13, 15}, {22, 23}, {26, 28}, {30, 31}};
  EXPECT_EQ(file.masked(0, file.token_count()), all);
  EXPECT_TRUE(file.has_masks());
  EXPECT_EQ(file.masked_spans(), 5);
  EXPECT_EQ(file.masked_tokens(), 9);
  EXPECT_EQ(file.masked(9, 14), (std::vector<TokenSpan>{{9, 11}, {13, 14}}));
  EXPECT_EQ(file.masked(11, 13), std::vector<TokenSpan>{});
  EXPECT_EQ(file.masked(10, 11), (std::vector<TokenSpan>{{10, 11}}));
  EXPECT_EQ(file.masked(40, 50), std::vector<TokenSpan>{});
  const std::vector<std::int64_t> tokens = {5, 2, 4, 1, 4, 1}, words = {2, 1, 2, 1, 1, 2};
  for (std::int64_t i = 0; i < file.document_count(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_EQ(file.targets(i).tokens, tokens[at]) << i;
    EXPECT_EQ(file.targets(i).bytes, tokens[at]) << i;
    EXPECT_EQ(file.targets(i).words, words[at]) << i;
    EXPECT_EQ(file.document(i).bytes, static_cast<std::int64_t>(texts[at].size()));
  }
}

TEST(TokenMasks, MakeAnotherFormatAndAnotherChecksumOnlyWhereThereAreSome) {
  const TemporaryDirectory directory;
  write(directory / "plain.h5", 0, 1);
  write(directory / "masked.h5", 0, 2);
  EXPECT_EQ(Hdf5File::open(directory / "plain.h5").integer_attribute("format_version"), 1);
  EXPECT_FALSE(Hdf5File::open(directory / "plain.h5").contains("documents/masked"));
  EXPECT_EQ(Hdf5File::open(directory / "masked.h5").integer_attribute("format_version"), 2);
  EXPECT_FALSE(TokenFile(directory / "plain.h5").has_masks());
  EXPECT_EQ(TokenFile(directory / "plain.h5").targets(0).tokens, 5);

  TokenFileWriter other(directory / "other.h5", ByteTokenizer());
  other.add_document("0", ByteTokenizer().encode(texts[0]), 2, 5);
  other.add_document("1", ByteTokenizer().encode(texts[1]), 2, 6, {}, {{{0, 3}}, 1, 2});
  other.finish();
  EXPECT_NE(TokenFile(directory / "other.h5").checksum(), TokenFile(directory / "masked.h5").checksum());
}

TEST(TokenMasks, InShardsAreThoseOfOneFile) {
  const TemporaryDirectory directory;
  write(directory / "whole.h5", 0, 6);
  const fs::path folder = directory / "set.h5";
  fs::create_directory(folder);
  write(folder / "00000.h5", 0, 1);  // without any
  write(folder / "00001.h5", 1, 3);
  write(folder / "00002.h5", 3, 5);
  write(folder / "00003.h5", 5, 6);  // without any
  write_shard_index(folder, {"00000.h5", "00001.h5", "00002.h5", "00003.h5"});
  const TokenFile whole(directory / "whole.h5"), set(folder);
  set.verify();
  EXPECT_EQ(set.checksum(), whole.checksum());
  EXPECT_EQ(set.masked(0, 100), whole.masked(0, 100));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(set.targets(i).words, whole.targets(i).words);
}

TEST(TokenMasks, TheWriterRefusesWhatIsOutOfOrder) {
  const TemporaryDirectory directory;
  TokenFileWriter writer(directory / "a.h5", ByteTokenizer());
  const auto text = ByteTokenizer().encode("abcdef");
  using Spans = std::vector<TokenSpan>;
  for (const Spans& spans : {Spans{{0, 6}}, Spans{{0, 2}, {1, 3}}, Spans{{3, 4}, {0, 1}}, Spans{{2, 2}}, Spans{{5, 7}},
                             Spans{{-1, 2}}, Spans{{0, 3}, {3, 6}}}) {
    const std::string message = message_of<DataError>([&] { writer.add_document("x", text, 1, 6, {}, {spans, 1, 1}); });
    EXPECT_TRUE(holds(message, "the masks of document \"x\" overlap, lie outside its 6 tokens")) << message;
  }
  EXPECT_EQ(writer.document_count(), 0);
}

/// A token file of the documents "xy" and "z" written by hand, so that its masks can be wrong.
struct Parts {
  std::vector<std::int64_t> offsets{0, 4, 7}, words{1, 1}, bytes{2, 1};
  std::vector<std::int64_t> masked{1, 2}, target_words{1, 1}, target_bytes{1, 1};
  std::int64_t version = 2;

  void write(const fs::path& path) const {
    fs::remove(path);
    Hdf5File file = Hdf5File::create(path);
    file.write("documents/offsets", offsets);
    file.write("documents/words", words);
    file.write("documents/bytes", bytes);
    file.write("documents/names", std::vector<std::uint8_t>{'a', 0, 'b', 0});
    file.write("documents/masked", masked);
    file.write("documents/target_words", target_words);
    file.write("documents/target_bytes", target_bytes);
    file.write("tokenizer_model", std::vector<std::uint8_t>());
    const std::vector<std::int32_t> tokens{256, 'x', 'y', 257, 256, 'z', 257};
    file.write("tokens", std::vector<std::uint16_t>(tokens.begin(), tokens.end()));
    file.write_attribute("format", "palimpsest token file");
    file.write_attribute("format_version", version);
    file.write_attribute("tokenizer", "bytes");
    file.write_attribute("vocab_size", std::int64_t{258});
    file.write_attribute("begin_id", std::int64_t{256});
    file.write_attribute("end_id", std::int64_t{257});
    token_file_format::TokenHash hash(258);
    hash.update(tokens);
    file.write_attribute("tokens_checksum", hash.digest());
    using namespace std::string_view_literals;
    file.write_attribute(
        "checksum", token_file_format::content_checksum({hash.digest(), "bytes", 258, 256, 257, offsets, words, bytes,
                                                         "a\0b\0"sv, "", masked, target_words, target_bytes}));
    file.close();
  }
  std::string error(const fs::path& path) const {
    write(path);
    return message_of<Error>([&] { TokenFile(path).verify(); });
  }
};

TEST(TokenMasks, TheReaderNamesWhatIsWrong) {
  const TemporaryDirectory directory;
  const auto expect = [&](const std::function<void(Parts&)>& damage, const std::string& part) {
    Parts parts;
    damage(parts);
    const std::string message = parts.error(directory / "a.h5");
    EXPECT_TRUE(holds(message, part)) << message << "\n" << part;
  };
  Parts().write(directory / "sound.h5");
  TokenFile(directory / "sound.h5").verify();
  expect([](Parts& p) { p.version = 3; }, "token file format 3, expected 1 or 2");
  expect([](Parts& p) { p.masked = {}; }, "documents/masked is empty");
  expect([](Parts& p) { p.masked = {1, 2, 5}; }, "documents/masked has 3 entries, expected two a span");
  expect([](Parts& p) { p.masked = {0, 2}; }, "span 0 is 0 to 2, expected one behind 0 that ends at 4 at most");
  expect([](Parts& p) { p.masked = {-5, 2}; }, "span 0 is -5 to 2");
  expect([](Parts& p) { p.masked = {2, 2}; }, "span 0 is 2 to 2");
  expect([](Parts& p) { p.masked = {2, 5}; }, "span 0 is 2 to 5, expected one behind 0 that ends at 4 at most");
  expect([](Parts& p) { p.masked = {4, 5}, p.target_bytes = {2, 1}; }, "span 0 is 4 to 5, expected one behind 4");
  expect([](Parts& p) { p.masked = {1, 2, 2, 3}; }, "span 1 is 2 to 3, expected one behind 2");
  expect([](Parts& p) { p.masked = {2, 4, 1, 2}; }, "span 1 is 1 to 2");
  expect([](Parts& p) { p.masked = {1, 2, 7, 8}; }, "span 1 begins at 7, but there are 7 tokens");
  expect([](Parts& p) { p.masked = {1, 4}; }, "nothing of document 0 is left to predict");
  expect([](Parts& p) { p.masked = {5, 6}, p.target_bytes = {2, 1}; }, "nothing of document 1 is left to predict");
  expect([](Parts& p) { p.target_words = {1}; }, "documents/target_words has 1 entries");
  expect([](Parts& p) { p.target_words = {2, 1}; }, "documents/target_words: entry 0 is 2, expected 0 to 1");
  expect([](Parts& p) { p.target_bytes = {-1, 1}; }, "documents/target_bytes: entry 0 is -1, expected 0 to 2");
  expect([](Parts& p) { p.target_bytes = {1, 0}; }, "documents/target_bytes: entry 1 is 0, expected 1");
}

/// In a batch of these texts every target that is a capital letter counts, and of the end tokens those behind one.
void expect_capitals_count(const TokenBatch& batch) {
  std::size_t counted = 0;
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) {
    const std::int32_t input = batch.inputs[i], target = batch.targets[i];
    const std::int32_t decides = target == 257 ? input : target;
    const bool counts = input != 257 && decides >= 'A' && decides <= 'Z';
    EXPECT_EQ(batch.loss_weights[i], counts ? 1.0f : 0.0f) << i << ": " << input << " " << target;
    counted += counts;
  }
  EXPECT_GT(counted, 0u);
}

TEST(TokenMasks, TakeTheWeightFromTargetsAndLeaveTheInputs) {
  const TemporaryDirectory directory;
  write(directory / "a.h5", 0, texts.size());
  const TokenFile file(directory / "a.h5");
  for (const std::int64_t length : {1, 3, 5, 64}) {
    for (const std::int64_t lanes : {1, 2, 5}) {
      SegmentStream stream(file, {.seed = 3, .batch_size = lanes, .sequence_length = length, .lane_count = lanes});
      TokenBatch all;
      for (std::int64_t read = 0; read < 3 * file.token_count(); read += length * lanes) {
        const TokenBatch batch = stream.next();
        all.inputs.insert(all.inputs.end(), batch.inputs.begin(), batch.inputs.end());
        all.targets.insert(all.targets.end(), batch.targets.begin(), batch.targets.end());
        all.loss_weights.insert(all.loss_weights.end(), batch.loss_weights.begin(), batch.loss_weights.end());
      }
      expect_capitals_count(all);
      EXPECT_GT(std::ranges::count(all.inputs, 'a'), 0);  // read all the same
    }
  }
}

TEST(TokenMasks, CountInMixturesAsAlone) {
  const TemporaryDirectory directory;
  write(directory / "a.h5", 0, texts.size());
  write(directory / "b.h5", 2, 3);  // a file without any
  std::vector<MixtureEntry> entries(2);
  entries[0].file = (directory / "a.h5").string();
  entries[1].file = (directory / "b.h5").string();
  MixtureSource source(entries, {.seed = 5, .batch_size = 2, .sequence_length = 7, .segment_length = 7});
  TokenBatch all;
  for (int step = 0; step < 40; ++step) {
    const TokenBatch batch = source.next({0, 2});
    all.inputs.insert(all.inputs.end(), batch.inputs.begin(), batch.inputs.end());
    all.targets.insert(all.targets.end(), batch.targets.begin(), batch.targets.end());
    all.loss_weights.insert(all.loss_weights.end(), batch.loss_weights.begin(), batch.loss_weights.end());
  }
  expect_capitals_count(all);
}

}  // namespace
}  // namespace palimpsest
