// Compressed texts and records: what they become, and that nothing damaged is taken for whole.
#include "data/text/compressed_input.h"

#include <algorithm>
#include <array>
#include <functional>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "core/error.h"
#include "data/tokens/pack.h"
#include "data/tokens/token_file.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string compressed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_out = static_cast<uInt>(compressed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  compressed.resize(stream.total_out);
  deflateEnd(&stream);
  return compressed;
}

std::string zstd(const std::string& text) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string compressed(ZSTD_compressBound(text.size()), '\0');
  compressed.resize(ZSTD_compress2(context, compressed.data(), compressed.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return compressed;
}

struct Kind {
  std::string ending;
  std::string (*compress)(const std::string&);
};
const std::array<Kind, 2> kinds = {Kind{".gz", gzip}, Kind{".zst", zstd}};

std::string read_all(const fs::path& path, std::size_t at_once) {
  const auto input = open_input(path);
  std::string all, some(at_once, '\0');
  while (const std::size_t count = input->read(some)) all.append(some, 0, count);
  EXPECT_EQ(input->consumed(), fs::file_size(path));
  return all;
}

std::string lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += fmt::format("{{\"text\": \"line {} {}\"}}\n", i, i * 7919 % 1000);
  return text;
}

TEST(CompressedInput, IsWhatWasCompressedInAnyPieces) {
  const TemporaryDirectory directory;
  const std::string first = lines(9000), second = "and more";
  for (const Kind& kind : kinds) {
    const fs::path path = directory / ("a" + kind.ending);
    overwrite_file(path, kind.compress(first));
    for (const std::size_t at_once : {1000, 65536, 1'000'000}) EXPECT_TRUE(read_all(path, at_once) == first) << path;
    overwrite_file(path, kind.compress(first) + kind.compress("") + kind.compress(second));
    EXPECT_TRUE(read_all(path, 100'000) == first + second) << path;
    overwrite_file(path, kind.compress(""));
    EXPECT_EQ(read_all(path, 100), "");
  }
}

TEST(CompressedInput, PassesOverZerosThatPadGzip) {
  const TemporaryDirectory directory;
  const fs::path path = directory / "a.gz";
  const std::string text = lines(9);
  overwrite_file(path, gzip(text) + std::string(100'000, '\0'));
  EXPECT_EQ(read_all(path, 1000), text);
  overwrite_file(path, gzip(text) + std::string(10, '\0') + gzip(text));
  EXPECT_TRUE(holds(message_of<FileError>([&] { read_all(path, 1000); }), "zeros, and then something else"));
}

TEST(CompressedInput, NamesTheByteWhereItIsCutOrDamaged) {
  const TemporaryDirectory directory;
  const std::string text = lines(40);
  for (const Kind& kind : kinds) {
    const fs::path path = directory / ("a" + kind.ending);
    const std::string whole = kind.compress(text);
    for (std::size_t length = 0; length < whole.size(); ++length) {
      overwrite_file(path, whole.substr(0, length));
      const std::string message = message_of<FileError>([&] { read_all(path, 1000); });
      EXPECT_TRUE(message.starts_with(path.string() + ": byte ")) << message;
      EXPECT_TRUE(holds(message, fmt::format("byte {}: the file ends in the midst", length))) << message;
    }
    std::size_t noticed = 0;
    for (std::size_t at = 0; at < whole.size(); ++at) {
      overwrite_file(path, whole);
      flip_byte(path, at);
      try {  // some bytes, like the time in gzip's header, mean nothing
        EXPECT_TRUE(read_all(path, 1000) == text) << at;
      } catch (const FileError&) {
        ++noticed;
      }
    }
    EXPECT_GT(noticed, whole.size() - 12);
    overwrite_file(path, whole + "junk");
    EXPECT_TRUE(holds(message_of<FileError>([&] { read_all(path, 1000); }), ": byte "));
  }
}

TEST(CompressedInput, PacksToTheSameFileAsWithoutCompression) {
  const TemporaryDirectory directory;
  const std::string records = lines(60'000), text = "a text\nof two lines";
  fs::create_directory(directory / "plain");
  overwrite_file(directory / "plain" / "a.jsonl", records);
  overwrite_file(directory / "plain" / "b.txt", text);
  pack_folder(directory / "plain", directory / "plain.h5", ByteTokenizer(), {});
  for (const Kind& kind : kinds) {
    const fs::path folder = directory / ("of" + kind.ending), packed = directory / ("of" + kind.ending + ".h5");
    fs::create_directory(folder);
    overwrite_file(folder / ("a.jsonl" + kind.ending), kind.compress(records));
    overwrite_file(folder / ("b.txt" + kind.ending), kind.compress(text));
    const PackReport report =
        pack_folder(folder, packed, ByteTokenizer(), {.threads = 3, .bytes_in_flight = 2'000'000});
    EXPECT_TRUE(file_content(packed) == file_content(directory / "plain.h5")) << kind.ending;
    EXPECT_EQ(report.bytes_read, report.bytes_found);
    EXPECT_TRUE(list_corpus(folder).files.empty());  // who takes files as they are gets none
  }
}

TEST(CompressedInput, PacksNothingOfADamagedFile) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "corpus");
  overwrite_file(directory / "corpus" / "a.txt", "sound");
  for (const std::string name : {"b.txt", "c.jsonl"}) {
    for (const Kind& kind : kinds) {
      const fs::path path = directory / "corpus" / (name + kind.ending);
      const std::string whole = kind.compress(lines(30'000));
      overwrite_file(path, whole.substr(0, whole.size() - 5));
      const std::string message = message_of<FileError>(
          [&] { pack_folder(directory / "corpus", directory / "a.h5", ByteTokenizer(), {.threads = 2}); });
      EXPECT_TRUE(message.starts_with(fmt::format("{}: byte {}: ", path.string(), whole.size() - 5))) << message;
      EXPECT_FALSE(fs::exists(directory / "a.h5"));
      fs::remove(path);
    }
  }
}

TEST(CompressedInput, BecomesNoMoreThanATextMayHave) {
  const TemporaryDirectory directory;
  for (const Kind& kind : kinds) {
    const fs::path path = directory / ("bomb.txt" + kind.ending);
    overwrite_file(path, kind.compress(std::string(30'000'000, 'a')));
    EXPECT_LT(fs::file_size(path), 40'000u);
    const auto result = read_corpus_file(path, 1'000'000);
    ASSERT_TRUE(std::holds_alternative<CorpusProblem>(result));
    EXPECT_EQ(std::get<CorpusProblem>(result).kind, CorpusProblem::Kind::too_long);
  }
}

}  // namespace
}  // namespace palimpsest
