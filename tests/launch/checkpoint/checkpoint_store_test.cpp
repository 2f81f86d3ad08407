// Finding the newest whole checkpoint and reading it: damage, shares of tensors, manifests that do not fit.
#include <array>

#include <fmt/format.h>

#include "tests/launch/checkpoint/checkpoint_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

class CheckpointStoreTest : public CheckpointDirectoryTest {};

TEST_F(CheckpointStoreTest, SharesOfATensorAreReadInAnyOther) {
  Tensor values = Tensor::from_values(pool_, Shape{2, 3}, DataType::float32, std::vector<double>{0, 1, 2, 3, 4, 5});
  StateDictionary replicated;
  replicated.add("optimizer/a", values);
  save_whole(replicated);
  for (std::int64_t first = 0; first <= 6; ++first) {
    for (std::int64_t last = first; last <= 6; ++last) {
      StateDictionary target;
      target.add_slice("optimizer/a", Shape{2, 3}, first, tensor(-1, Shape{last - first}));
      newest()->load(target, *communicator_);
      std::vector<double> expected;
      for (std::int64_t i = first; i < last; ++i) expected.push_back(static_cast<double>(i));
      EXPECT_EQ(target.at("optimizer/a").to_doubles(), expected);
    }
  }
}

TEST_F(CheckpointStoreTest, EntriesHaveToMatchExactly) {
  save(1);
  const Checkpoint found = Checkpoint::open(path_of(1), *communicator_);
  const auto message_for = [&](const std::string& name, Tensor target) {
    StateDictionary targets;
    targets.add(name, std::move(target));
    return message_of([&] { found.load(targets, *communicator_); });
  };
  const std::string start = path_of(1).string() + ": ";
  EXPECT_EQ(message_for("parameters/a.weight", tensor(0, Shape{3, 2})),
            start + "entry 'parameters/a.weight' is float32 (2, 3), expected float32 (3, 2)");
  EXPECT_EQ(message_for("parameters/a.weight", tensor(0, Shape{2, 3}, DataType::float64)),
            start + "entry 'parameters/a.weight' is float32 (2, 3), expected float64 (2, 3)");
  EXPECT_EQ(message_for("parameters/b", tensor(0)), start + "has no entry 'parameters/b'");
  EXPECT_EQ(message_of([&] { found.require_section("parameters", {}); }),
            start + "has an entry 'parameters/a.weight' that is not expected");
  EXPECT_EQ(message_of([&] {
              found.require_section("parameters", {"a.weight", "b.weight"});
            }),
            start + "has no entry 'parameters/b.weight'");
  EXPECT_NO_THROW(found.require_section("parameters", {"a.weight"}));
}

TEST_F(CheckpointStoreTest, AFlippedBitIsNoticedWhereverItIs) {
  save(1);
  const auto verify = [&] { Checkpoint::open(path_of(1), *communicator_).verify(*communicator_); };
  for (const char* name : {"state-00000.h5", "manifest.json", "manifest.json.xxh128"}) {
    const fs::path path = path_of(1) / name;
    // Each byte: of the tensors, of what HDF5 puts around them, and of the manifest.
    for (std::uintmax_t offset = 0; offset < fs::file_size(path); ++offset) {
      const int bit = static_cast<int>(offset % 8);
      flip_bit(path, offset, bit);
      const std::string message = message_of(verify);
      flip_bit(path, offset, bit);
      ASSERT_TRUE(holds(message, path_of(1).string())) << name << ", byte " << offset << ": " << message;
      ASSERT_TRUE(holds(message, "damaged: its hash is")) << name << ", byte " << offset << ": " << message;
    }
  }
  EXPECT_NO_THROW(verify());
}

TEST_F(CheckpointStoreTest, AFlippedBitInALargeTensorIsNoticed) {
  StateDictionary large;
  large.add("parameters/large", tensor(1, Shape{std::int64_t{3} << 18}));
  save_whole(large);
  const fs::path path = path_of(1) / "state-00000.h5";
  const std::uintmax_t size = fs::file_size(path);
  for (std::uintmax_t offset = 0; offset < size; offset += 65'521) {
    flip_bit(path, offset, static_cast<int>(offset % 8));
    EXPECT_THROW(Checkpoint::open(path_of(1), *communicator_).verify(*communicator_), FileError) << offset;
    flip_bit(path, offset, static_cast<int>(offset % 8));
  }
  EXPECT_NO_THROW(Checkpoint::open(path_of(1), *communicator_).verify(*communicator_));
}

TEST_F(CheckpointStoreTest, PassesOverWhatIsNotWholeAndSaysWhy) {
  for (const std::int64_t step : {1, 2, 3, 4, 5}) save(step);
  const fs::path truncated = path_of(5) / "state-00000.h5";
  const std::uintmax_t size = fs::file_size(truncated);
  fs::resize_file(truncated, size - 1);
  fs::remove(path_of(4) / "manifest.json");
  fs::remove(path_of(3) / "state-00000.h5");
  fs::rename(path_of(2), path_of(6));
  const auto found = newest();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->step(), 1);
  EXPECT_EQ(first_value(*found), 1);
  const std::string sizes = fmt::format("{} bytes, the manifest says {}", size - 1, size);
  EXPECT_TRUE(holds(warnings(), truncated.string() + ": damaged: " + sizes)) << warnings();
  EXPECT_TRUE(holds(warnings(), (path_of(4) / "manifest.json").string() + ": no such file")) << warnings();
  EXPECT_TRUE(holds(warnings(), (path_of(3) / "state-00000.h5").string() + ": no such file")) << warnings();
  EXPECT_TRUE(holds(warnings(), path_of(6).string() + ": is a checkpoint of step 2")) << warnings();
}

TEST_F(CheckpointStoreTest, NeverStartsAfreshOverDamagedCheckpoints) {
  save(1);
  save(2);
  fs::remove(path_of(1) / "manifest.json");
  flip_byte(path_of(2) / "state-00000.h5", 500);
  const std::string message = message_of([&] { newest(); });
  EXPECT_TRUE(holds(message, checkpoints_.string() + ": none of the 2 checkpoints is whole")) << message;
  EXPECT_TRUE(holds(message, "manifest.json: no such file")) << message;
  EXPECT_TRUE(holds(message, "state-00000.h5: damaged")) << message;
}

TEST_F(CheckpointStoreTest, AnUnreadableDirectoryIsAnError) {
  fs::create_directories(checkpoints_.parent_path());
  overwrite_file(checkpoints_, "not a directory");
  EXPECT_TRUE(holds(message_of([&] { newest(); }), checkpoints_.string() + ": cannot list"));
}

TEST_F(CheckpointStoreTest, ManifestsOfAnotherKindAreRefused) {
  save(1);
  const fs::path path = path_of(1) / "manifest.json";
  const std::string intact = file_content(path);
  const auto message_with = [&](const std::string& from, const std::string& to) {
    std::string changed = intact;
    changed.replace(changed.find(from), from.size(), to);
    return message_of([&] { CheckpointManifest::from_text(changed, path); });
  };
  EXPECT_TRUE(holds(message_with("\"version\": 3", "\"version\": 1"), "'version' is 1, this program reads 2 and 3"));
  EXPECT_TRUE(holds(message_with("\"step\": 1", "\"step\": -1"), "'step' is -1, expected a non-negative integer"));
  EXPECT_TRUE(holds(message_with("palimpsest checkpoint", "checkpoint"), "'format' is 'checkpoint'"));
  EXPECT_TRUE(holds(message_with("state-00000.h5", "../../secrets"), "file '../../secrets' is listed where"));
  EXPECT_TRUE(holds(message_with("\"offset\": ", "\"offset\": 9"), "not a part of file 'state-00000.h5'"));
  EXPECT_TRUE(holds(message_with("\"end\": ", "\"end\": 9"), "not a part of file 'state-00000.h5'"));
  EXPECT_TRUE(holds(message_with("\"type\": \"float32", "\"type\": \"int"), "'type' is 'int'"));
  EXPECT_TRUE(holds(message_with("\"training_state\"", "\"trained_state\""), "training_state"));
  EXPECT_TRUE(holds(message_with("{", "["), path.string() + ": not JSON at byte"));
}

TEST_F(CheckpointStoreTest, SlicesHaveToMakeUpTheirEntry) {
  const auto message_for = [](const std::vector<std::array<std::int64_t, 2>>& slices, DataType last) {
    CheckpointManifest manifest;
    for (const auto& [begin, end] : slices) {
      CheckpointManifest::File& file = manifest.files.emplace_back();
      StoredSlice& slice = file.slices.emplace_back();
      slice.name.push_back('a');
      slice.shape = Shape{2, 3};
      slice.begin = begin;
      slice.end = end;
    }
    manifest.files.back().slices.back().type = last;
    return message_of([&] { entries_of(manifest, "here"); });
  };
  const DataType same = DataType::float32;
  EXPECT_EQ(message_for({{0, 3}, {4, 6}}, same), "here: the entry 'a' lacks elements 3 to 4");
  EXPECT_EQ(message_for({{1, 6}}, same), "here: the entry 'a' lacks elements 0 to 1");
  EXPECT_EQ(message_for({{3, 5}, {0, 3}}, same), "here: the entry 'a' lacks elements 5 to 6");
  EXPECT_EQ(message_for({{0, 4}, {3, 6}}, same), "here: the entry 'a' has elements twice, from 3 on");
  EXPECT_EQ(message_for({{0, 6}, {0, 6}}, same), "here: the entry 'a' has elements twice, from 0 on");
  EXPECT_EQ(message_for({{0, 3}, {3, 6}}, DataType::float64),
            "here: the entry 'a' is float32 (2, 3) in one file and float64 (2, 3) in another");
}

TEST_F(CheckpointStoreTest, CheckpointsThatWereThereAndAreGoneAreAnError) {
  save(1);
  fs::remove_all(path_of(1));
  const std::string message = message_of([&] { newest(); });
  EXPECT_TRUE(holds(message, (checkpoints_ / "latest").string() + ": says that there was a checkpoint")) << message;
}

TEST_F(CheckpointStoreTest, OneThatWasJustBeingReplacedIsFound) {
  // What a crash leaves in the middle of `commit` on a file system without an exchange of names.
  save(1);
  fs::rename(path_of(1), path_of(1).string() + ".replaced");
  EXPECT_EQ(first_value(newest().value()), 1);
  EXPECT_EQ(store().steps(), std::vector<std::int64_t>{1});
  save(1);
  EXPECT_EQ(names(), (std::vector<std::string>{"latest", "step-00000001"}));
}

TEST_F(CheckpointStoreTest, NamesOfDirectories) {
  EXPECT_EQ(checkpoint_directory_name(1234), "step-00001234");
  for (const std::int64_t step : {0L, 99'999'999L, 100'000'000L}) {
    EXPECT_EQ(checkpoint_step(checkpoint_directory_name(step)), step);
  }
  for (const char* name : {"latest", "step-", "step-1234", "step-0000123x", ".tmp-step-00001234", "step--0001234"}) {
    EXPECT_EQ(checkpoint_step(name), -1) << name;
  }
}

}  // namespace
}  // namespace palimpsest
