// HDF5 files that nobody should believe: made by hand with what Palimpsest never writes, and thousands of damaged ones.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/io/hdf5_file.h"
#include "core/io/hdf5_handle.h"
#include "core/random.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

using hdf5::Handle;

class Hdf5HostileTest : public testing::Test {
 protected:
  /// A file with one data set "x" of `extents`, whose creation properties `arrange` sets; `values` are written if any.
  void make(const std::vector<hsize_t>& extents, const std::function<void(hid_t)>& arrange,
            const std::vector<float>& values = {}, hid_t type = H5T_IEEE_F32LE) {
    std::filesystem::remove(path_);
    Hdf5File::create(path_).close();
    const Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    arrange(creation.get());
    const std::vector<hsize_t> most(extents.size(), H5S_UNLIMITED);
    const bool chunked = H5Pget_layout(creation.get()) == H5D_CHUNKED;
    const Handle space(
        H5Screate_simple(static_cast<int>(extents.size()), extents.data(), chunked ? most.data() : nullptr), H5Sclose);
    const Handle dataset(H5Dcreate2(file.get(), "x", type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                         H5Dclose);
    ASSERT_GE(dataset.get(), 0) << hdf5::explanation();
    if (!values.empty()) {
      ASSERT_GE(H5Dwrite(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
    }
  }

  void expect_refused(const std::string& part) {
    for (const auto open : {&Hdf5File::open, &Hdf5File::open_untrusted}) {
      const std::string message = message_of([&] { open(path_).read_vector<float>("x"); });
      EXPECT_TRUE(message.starts_with(path_.string() + ": ")) << message;
      EXPECT_TRUE(holds(message, part)) << message;
    }
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "file.h5";
};

TEST_F(Hdf5HostileTest, PlainChunksOfOthersAreRead) {
  const std::vector<float> values = {1, 2, 3, 4, 5};
  const hsize_t chunk = 2;
  make(
      {5}, [&](hid_t creation) { H5Pset_chunk(creation, 1, &chunk); }, values);
  EXPECT_EQ(Hdf5File::open_untrusted(path_).read_vector<float>("x"), values);
  make(
      {5}, [](hid_t) {}, values);
  EXPECT_EQ(Hdf5File::open_untrusted(path_).read_vector<float>("x"), values);
}

TEST_F(Hdf5HostileTest, OtherLayoutsAndFiltersAreRefused) {
  std::vector<float> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));  // hard to compress
  const hsize_t chunk = 1000, huge = hsize_t{1} << 29, one = 1;
  make(
      {1000}, [](hid_t creation) { H5Pset_layout(creation, H5D_COMPACT); }, values);
  expect_refused("lies in its own header");
  make(
      {1000}, [&](hid_t creation) { H5Pset_chunk(creation, 1, &chunk), H5Pset_shuffle(creation); }, values);
  expect_refused("is compressed or filtered");
  make(
      {1000}, [&](hid_t creation) { H5Pset_chunk(creation, 1, &chunk), H5Pset_deflate(creation, 9); }, values);
  expect_refused("is compressed or filtered");
  make({100}, [](hid_t creation) { H5Pset_external(creation, "/etc/passwd", 0, 400); });
  expect_refused("is kept in other files");
  make({100}, [&](hid_t creation) { H5Pset_chunk(creation, 1, &one); });
  expect_refused("stores 0 bytes, expected 400");
  make({std::uint64_t{1} << 50}, [&](hid_t creation) { H5Pset_chunk(creation, 1, &chunk); });
  expect_refused("declares more elements than its file");
  make({1, 1}, [&](hid_t creation) {
    const hsize_t wide[] = {1, huge};
    H5Pset_chunk(creation, 2, wide);
  });
  expect_refused("");
  make(
      {1000}, [](hid_t) {}, values, H5T_IEEE_F64LE);
  expect_refused("has elements of type float64, expected float32");
  make(
      {1000}, [](hid_t) {}, values, H5T_IEEE_F32BE);
  expect_refused("has elements of type other, expected float32");
  make(
      {10, 100}, [](hid_t) {}, values);
  expect_refused("has shape (10, 100), expected one dimension");
  make(std::vector<hsize_t>(9, 1), [](hid_t) {}, {1});
  expect_refused("dimensions, expected at most");
}

TEST_F(Hdf5HostileTest, VirtualDataSetsAreRefused) {
  const hsize_t extent = 100;
  const Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  make({100}, [&](hid_t creation) { H5Pset_virtual(creation, space.get(), "other.h5", "x", space.get()); });
  expect_refused("is kept in other files");
}

TEST_F(Hdf5HostileTest, APartlyWrittenChunkIsRefused) {
  const hsize_t chunk = 100;
  make(
      {1000}, [&](hid_t creation) { H5Pset_chunk(creation, 1, &chunk), H5Pset_fletcher32(creation); },
      std::vector<float>(1000, 1));
  {
    // Room for two chunks more, of which one is never written.
    const Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const Handle dataset(H5Dopen2(file.get(), "x", H5P_DEFAULT), H5Dclose);
    const hsize_t longer = 1001;
    ASSERT_GE(H5Dset_extent(dataset.get(), &longer), 0);
  }
  expect_refused("chunk storage is not allocated");
}

TEST_F(Hdf5HostileTest, NothingMayStandBeforeOrBehind) {
  Hdf5File writer = Hdf5File::create(path_);
  writer.write("x", std::vector<float>{1, 2});
  writer.close();
  const std::string content = file_content(path_);
  overwrite_file(path_, content + "x");
  expect_refused(std::to_string(content.size() + 1) + " bytes, but its HDF5 structure ends at byte " +
                 std::to_string(content.size()));
  overwrite_file(path_, std::string(512, '#') + content);
  expect_refused("");
  overwrite_file(path_, content.substr(0, content.size() - 1));
  expect_refused("truncated file");
}

TEST_F(Hdf5HostileTest, ALongTextAttributeIsRefused) {
  Hdf5File::create(path_).close();
  {
    const Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const Handle type(H5Tcopy(H5T_C_S1), H5Tclose), space(H5Screate(H5S_SCALAR), H5Sclose);
    ASSERT_GE(H5Tset_size(type.get(), 62000), 0);
    const Handle attribute(H5Acreate2(file.get(), "text", type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    ASSERT_GE(attribute.get(), 0);
  }
  EXPECT_TRUE(holds(message_of([&] { Hdf5File::open_untrusted(path_).text_attribute("text"); }), "62000 bytes"));
}

/// One to eight bytes changed: to anything, to a neighbour, to all ones.
std::string mutant(std::string content, std::uint64_t number) {
  const Random random(31, RandomPurpose::test);
  std::uint64_t index = number * 32;
  for (std::uint64_t changes = 1 + random.below(index++, 8); changes > 0; --changes) {
    char& byte = content[random.below(index++, content.size())];
    switch (random.below(index++, 3)) {
      case 0: byte = static_cast<char>(random.below(index++, 256)); break;
      case 1: byte = static_cast<char>(byte + 1); break;
      default: byte = static_cast<char>(0xFF);
    }
  }
  return content;
}

TEST_F(Hdf5HostileTest, NoMutantEndsTheProgram) {
  Hdf5File writer = Hdf5File::create(path_);
  for (const char* name : {"group/a", "group/b", "c"}) writer.write(name, std::vector<float>(8, 1.0f));
  writer.write_attribute("format", "some file");
  writer.write_attribute("version", 1);
  writer.close();
  const std::string content = file_content(path_);
  int refused = 0, died = 0, wrong = 0;
  const char* const asked = std::getenv("PALIMPSEST_MUTANTS");  // for longer runs by hand
  const int mutants = asked != nullptr ? std::atoi(asked) : 400;
  for (int i = 0; i < mutants; ++i) {
    overwrite_file(path_, mutant(content, static_cast<std::uint64_t>(i)));
    try {
      const Hdf5File file = Hdf5File::open_untrusted(path_);
      for (const std::string& name : file.dataset_names()) {
        if (file.info(name).type != "float32") continue;
        const std::vector<float> values = file.read_vector<float>(name);
        if (values != std::vector<float>(values.size(), 1.0f)) ++wrong;
      }
      if (file.has_attribute("format")) file.text_attribute("format");
      if (file.has_attribute("version")) file.integer_attribute("version");
    } catch (const FileError& error) {
      ++refused;
      if (holds(error.what(), "reading its structure")) ++died;
      EXPECT_TRUE(holds(error.what(), path_.string())) << error.what();
    }
  }
  std::printf("%d of %d mutants refused, %d of them because HDF5 itself crashed or hung; %d read as other values\n",
              refused, mutants, died, wrong);
  EXPECT_GT(refused, mutants / 20);
}

}  // namespace
}  // namespace palimpsest
