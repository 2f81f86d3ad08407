// Tensor files: what is written is found again, whole or in shares, by HDF5 as well; damage is found.
#include "core/io/tensor_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/io/hdf5_file.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

namespace fs = std::filesystem;

class TensorFileTest : public testing::Test {
 protected:
  /// Elements first, first + 1, ...
  Tensor counting(Shape shape, DataType type, double first) {
    std::vector<double> values(static_cast<std::size_t>(shape.elements()));
    for (double& value : values) value = first++;
    return Tensor::from_values(pool_, shape, type, values);
  }
  StateDictionary example() {
    StateDictionary state;
    state.add("parameters/a", counting(Shape{3, 5}, DataType::float32, 1));
    state.add_slice("parameters/b", Shape{4, 4}, 6, counting(Shape{7}, DataType::float32, 100));
    state.add("parameters/c", counting(Shape{}, DataType::float64, 7));
    state.add("memory/d", counting(Shape{2, 9}, DataType::bfloat16, 50));
    state.add("none", counting(Shape{0, 4}, DataType::float32, 0));
    // Several pieces of a file, not a multiple of one.
    state.add("large", counting(Shape{700'001}, DataType::float32, 0));
    return state;
  }
  fs::path path() const { return directory_ / "state.h5"; }

  TemporaryDirectory directory_;
  MemoryPool pool_;
};

TEST_F(TensorFileTest, EverySliceLiesWhereItIsSaidToLie) {
  const StateDictionary state = example();
  const TensorFile file = write_tensor_file(path(), state);
  EXPECT_EQ(file.fingerprint, fingerprint_file(path()));
  ASSERT_EQ(file.slices.size(), state.size());
  std::vector<Destination> destinations;
  std::vector<Tensor> read;
  for (const StoredSlice& slice : file.slices) {
    read.push_back(Tensor::zeros(pool_, state.at(slice.name).shape(), slice.type));
    destinations.push_back({slice.offset, read.back().raw()});
  }
  read_verified(path(), file.fingerprint, destinations);
  for (std::size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].to_doubles(), state.entries()[i].tensor.to_doubles()) << file.slices[i].name;
  }
  EXPECT_EQ(file.slices[1].begin, 6);
  EXPECT_EQ(file.slices[1].end, 13);
  EXPECT_EQ(file.slices[1].shape, (Shape{4, 4}));
}

TEST_F(TensorFileTest, Hdf5ReadsTheSame) {
  const StateDictionary state = example();
  const TensorFile file = write_tensor_file(path(), state);
  const Hdf5File opened = Hdf5File::open(path());
  for (const auto& entry : state) {
    Tensor target = Tensor::zeros(pool_, entry.tensor.shape(), entry.tensor.data_type());
    opened.read(entry.name, target);
    EXPECT_EQ(target.to_doubles(), entry.tensor.to_doubles()) << entry.name;
  }
  EXPECT_EQ(opened.text_attribute("xxh128", "parameters/a"), file.slices[0].hash);
  EXPECT_EQ(opened.integer_attribute("begin", "parameters/b"), 6);
  EXPECT_EQ(opened.text_attribute("shape", "parameters/b"), "(4, 4)");
  EXPECT_FALSE(opened.has_attribute("begin", "parameters/a"));
}

TEST_F(TensorFileTest, TheSameEntriesGiveTheSameBytes) {
  write_tensor_file(path(), example());
  write_tensor_file(directory_ / "again.h5", example());
  EXPECT_EQ(file_content(path()), file_content(directory_ / "again.h5"));
}

TEST_F(TensorFileTest, DamageIsFoundAndNamed) {
  const TensorFile file = write_tensor_file(path(), example());
  const std::string intact = file_content(path());
  const auto message = [&] { return message_of([&] { read_verified(path(), file.fingerprint, {}); }); };
  flip_byte(path(), file.slices[3].offset + 5);
  EXPECT_TRUE(holds(message(), path().string() + ": damaged: its hash is")) << message();
  EXPECT_EQ(damaged_slices(path(), file.slices), std::vector<std::string>{"memory/d"});
  overwrite_file(path(), intact.substr(0, intact.size() - 1));
  EXPECT_TRUE(
      holds(message(), fmt::format("damaged: {} bytes, the manifest says {}", intact.size() - 1, intact.size())));
  overwrite_file(path(), "");
  EXPECT_TRUE(holds(message(), "damaged: 0 bytes")) << message();
  fs::remove(path());
  EXPECT_TRUE(holds(message(), path().string() + ": no such file")) << message();
}

TEST_F(TensorFileTest, PlacesBeyondTheFileOrOnEachOtherAreRefused) {
  const TensorFile file = write_tensor_file(path(), example());
  std::vector<std::byte> target(16);
  const auto refused = [&](std::vector<Destination> places) {
    return holds(message_of([&] { read_verified(path(), file.fingerprint, places); }),
                 "are not one piece of this file");
  };
  EXPECT_TRUE(refused({{file.fingerprint.bytes - 15, target}}));
  EXPECT_TRUE(refused({{~std::uint64_t{0} - 3, target}}));
  EXPECT_TRUE(refused({{0, target}, {15, target}}));
}

TEST_F(TensorFileTest, FailuresToWriteNameFileAndEntry) {
  StateDictionary clashing;
  clashing.add("memory", counting(Shape{1}, DataType::float32, 0));
  clashing.add("memory/lane", counting(Shape{1}, DataType::float32, 0));  // below a data set
  const std::string message = message_of<WriteError>([&] { write_tensor_file(path(), clashing); });
  EXPECT_TRUE(holds(message, path().string())) << message;
  EXPECT_TRUE(holds(message, "'memory/lane'")) << message;
  EXPECT_THROW(write_tensor_file(directory_ / "none" / "state.h5", example()), WriteError);
  EXPECT_THROW(write_tensor_file(path(), example()), WriteError);  // there already, though not whole
}

}  // namespace
}  // namespace palimpsest
