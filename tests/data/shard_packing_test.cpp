#include "data/tokens/shard_packing.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "data/tokens/token_file.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

/// A corpus of ten texts of 100 to 190 bytes, cut into shards of 400 at most.
struct Fixture {
  TemporaryDirectory directory;
  fs::path corpus = directory / "corpus", folder = directory / "set.h5.packing", output = directory / "set.h5";
  ByteTokenizer tokenizer;
  CorpusListing listing;
  int packed = 0;  // files

  Fixture() {
    fs::create_directory(corpus);
    fs::create_directory(folder);
    for (int i = 0; i < 10; ++i) {
      overwrite_file(corpus / fmt::format("{}.txt", i), std::string(static_cast<std::size_t>(100 + 10 * i), 'a'));
    }
    listing = list_corpus(corpus);
  }
  std::vector<ShardTask> tasks() const {
    std::vector<ShardTask> all;
    for (const auto& files : plan_shards(listing.files, 400)) all.push_back({folder, all.size(), files});
    return all;
  }
  PackReport run(const ShardTask& task, const PackOptions& options = {}) {
    if (auto finished = finished_shard(task, tokenizer, options)) return *finished;
    return pack_shard(task, tokenizer, options, [&](const PackReport&) { ++packed; });
  }
  /// Packs what is not finished yet, and puts the file together.
  std::vector<PackReport> finish(bool overwrite = false) {
    std::vector<PackReport> reports;
    for (const ShardTask& task : tasks()) reports.push_back(run(task));
    finish_shards(folder, reports, output, overwrite);
    return reports;
  }
};

TEST(ShardPacking, CutsByBytesOfText) {
  const auto plan = [](const std::vector<std::uint64_t>& bytes) {
    std::vector<CorpusFile> files;
    for (const std::uint64_t size : bytes) files.push_back({"", "", size});
    std::vector<std::size_t> sizes;
    for (const auto& shard : plan_shards(files, 100)) sizes.push_back(shard.size());
    return sizes;
  };
  using Sizes = std::vector<std::size_t>;
  EXPECT_EQ(plan({50, 50, 50}), (Sizes{2, 1}));
  EXPECT_EQ(plan({50, 51, 49}), (Sizes{1, 2}));
  EXPECT_EQ(plan({500, 1, 500, 500}), (Sizes{1, 1, 1, 1}));
  EXPECT_EQ(plan({0, 0, 100, 0}), (Sizes{4}));
  EXPECT_EQ(plan({}), Sizes{});
}

TEST(ShardPacking, GivesTheContentOfOneFile) {
  Fixture fixture;
  const auto reports = fixture.finish();
  EXPECT_EQ(reports.size(), 5u);
  const TokenFile set(fixture.output);
  set.verify();
  pack_folder(fixture.corpus, fixture.directory / "whole.h5", fixture.tokenizer, {});
  EXPECT_EQ(set.checksum(), TokenFile(fixture.directory / "whole.h5").checksum());
  EXPECT_EQ(set.shard_count(), 5);
  EXPECT_FALSE(fs::exists(fixture.folder));
}

TEST(ShardPacking, KeepsFinishedShards) {
  Fixture fixture;
  const auto tasks = fixture.tasks();
  const PackReport first = fixture.run(tasks[0]);
  fixture.run(tasks[2]);
  const int before = fixture.packed;
  const auto kept = finished_shard(tasks[0], fixture.tokenizer, {});
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->documents, first.documents);
  EXPECT_EQ(kept->tokens, first.tokens);
  EXPECT_EQ(kept->bytes_read, first.bytes_read);
  fixture.finish();
  EXPECT_EQ(fixture.packed - before,
            static_cast<int>(tasks[1].files.size() + tasks[3].files.size() + tasks[4].files.size()));
  TokenFile(fixture.output).verify();
}

TEST(ShardPacking, DoesShardsAgainThatAreOfSomethingElse) {
  Fixture fixture;
  const auto tasks = fixture.tasks();
  for (const ShardTask& task : tasks) fixture.run(task);
  const auto finished = [&](std::size_t i) { return finished_shard(tasks[i], fixture.tokenizer, {}).has_value(); };
  ASSERT_TRUE(finished(0) && finished(1) && finished(2) && finished(3));
  // A text of the same length that was changed later.
  const fs::path text = tasks[0].files[0].path;
  fs::last_write_time(text, fs::last_write_time(text) + std::chrono::seconds(1));
  EXPECT_FALSE(finished(0));
  // A shard that is damaged, or gone.
  overwrite_file(fixture.folder / "00001.h5", "no longer");
  EXPECT_FALSE(finished(1));
  fs::remove(fixture.folder / "00002.h5");
  EXPECT_FALSE(finished(2));
  // Another tokenizer.
  EXPECT_FALSE(finished_shard(tasks[3], *make_tokenizer("passkey"), {}));
  EXPECT_TRUE(finished(3));
  // A note that is not whole.
  const fs::path note = fixture.folder / "00003.finished";
  const std::string content = file_content(note);
  overwrite_file(note, content.substr(0, content.size() - 3));
  EXPECT_FALSE(finished(3));
  fixture.finish();
  TokenFile(fixture.output).verify();
}

TEST(ShardPacking, PassesOverShardsWithoutText) {
  Fixture fixture;
  const auto tasks = fixture.tasks();
  for (const CorpusFile& file : tasks[1].files) overwrite_file(file.path, std::string(file.bytes, ' '));
  const auto reports = fixture.finish();
  EXPECT_EQ(reports[1].documents, 0);
  EXPECT_EQ(reports[1].problems.size(), static_cast<std::size_t>(reports[1].files));
  const TokenFile set(fixture.output);
  EXPECT_EQ(set.shard_count(), 4);
  EXPECT_EQ(set.document_count(), 10 - reports[1].files);
  // Noted as well, for the next attempt, though there is no shard.
  fs::create_directory(fixture.folder);
  fixture.run(fixture.tasks()[1]);
  EXPECT_TRUE(finished_shard(fixture.tasks()[1], fixture.tokenizer, {}));
  EXPECT_FALSE(finished_shard(fixture.tasks()[1], fixture.tokenizer, {.strict = true}));
  EXPECT_THROW(finish_shards(fixture.folder, std::vector<PackReport>(2), fixture.directory / "b.h5", false), DataError);
}

TEST(ShardPacking, ReplacesOnlyWhenAsked) {
  Fixture fixture;
  overwrite_file(fixture.output, "precious");
  EXPECT_THROW(fixture.finish(), WriteError);
  EXPECT_EQ(file_content(fixture.output), "precious");
  fixture.finish(true);
  EXPECT_EQ(TokenFile(fixture.output).document_count(), 10);
}

}  // namespace
}  // namespace palimpsest
