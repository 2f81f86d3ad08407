#include <chrono>
#include <csignal>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "core/io/hdf5_file.h"
#include "core/io/hdf5_handle.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

class Hdf5FileTest : public testing::Test {
 protected:
  /// 0, 1, 2 ... in the given shape.
  Tensor counting(Shape shape, DataType type = DataType::float32) {
    std::vector<double> values(static_cast<std::size_t>(shape.elements()));
    std::iota(values.begin(), values.end(), 0.0);
    return Tensor::from_values(pool_, shape, type, values);
  }

  MemoryPool pool_;
  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "file.h5";
};

TEST_F(Hdf5FileTest, TensorsOfEveryTypeComeBack) {
  for (const DataType type : {DataType::float32, DataType::bfloat16, DataType::float64}) {
    const auto path = directory_ / std::string(name_of(type));
    for (const Shape& shape : {Shape{}, Shape{7}, Shape{3, 5}, Shape{2, 0, 4}, Shape{2, 2, 2, 2, 2}}) {
      std::filesystem::remove(path);
      const Tensor source = counting(shape, type);
      Hdf5File writer = Hdf5File::create(path);
      writer.write("deep/er/tensor", source);
      writer.close();
      const Hdf5File reader = Hdf5File::open(path);
      Tensor target = Tensor::zeros(pool_, shape, type);
      reader.read("deep/er/tensor", target);
      EXPECT_EQ(target.to_doubles(), source.to_doubles()) << name_of(type) << " " << shape.to_string();
      EXPECT_EQ(reader.info("deep/er/tensor").shape, shape);
      EXPECT_EQ(reader.info("deep/er/tensor").type, name_of(type));
    }
  }
}

TEST_F(Hdf5FileTest, DataSetsLargerThanAChunkComeBack) {
  const Tensor wide = counting(Shape{3, 700001}), tall = counting(Shape{300000, 3});
  Hdf5File writer = Hdf5File::create(path_);
  writer.write("wide", wide);
  writer.write("tall", tall);
  writer.close();
  Tensor wide_read(pool_, wide.shape(), DataType::float32), tall_read(pool_, tall.shape(), DataType::float32);
  const Hdf5File reader = Hdf5File::open(path_);
  reader.read("wide", wide_read);
  reader.read("tall", tall_read);
  EXPECT_EQ(wide_read.to_doubles(), wide.to_doubles());
  EXPECT_EQ(tall_read.to_doubles(), tall.to_doubles());
  // Chunks of nearly equal size waste little space at the edges.
  EXPECT_LT(std::filesystem::file_size(path_), (wide.bytes() + tall.bytes()) * 11 / 10);
}

TEST_F(Hdf5FileTest, AppendedIntegersAreReadInSlices) {
  std::vector<std::int32_t> all(100000);
  std::iota(all.begin(), all.end(), -50);
  Hdf5File writer = Hdf5File::create(path_);
  for (std::size_t begin = 0; begin < all.size(); begin += 30000) {
    const std::size_t count = std::min<std::size_t>(30000, all.size() - begin);
    writer.append("tokens", std::span<const std::int32_t>(all).subspan(begin, count));
  }
  writer.append("group/empty", std::span<const std::int64_t>());
  writer.write("offsets", std::vector<std::int64_t>{0, std::int64_t{1} << 40});
  writer.close();

  const Hdf5File reader = Hdf5File::open(path_);
  EXPECT_EQ(reader.length("tokens"), 100000);
  EXPECT_EQ(reader.length("group/empty"), 0);
  EXPECT_EQ(reader.read_vector<std::int64_t>("offsets"), (std::vector<std::int64_t>{0, std::int64_t{1} << 40}));
  EXPECT_EQ(reader.read_vector<std::int32_t>("tokens"), all);
  std::vector<std::int32_t> slice(20000);
  reader.read_slice("tokens", 15000, std::span(slice));
  EXPECT_TRUE(std::equal(slice.begin(), slice.end(), all.begin() + 15000));
  reader.read_slice("tokens", 80000, std::span(slice));
  EXPECT_TRUE(std::equal(slice.begin(), slice.end(), all.begin() + 80000));

  const std::string message = message_of([&] { reader.read_slice("tokens", 80001, std::span(slice)); });
  EXPECT_TRUE(holds(message, "'tokens' has shape (100000), asked for elements 80001 to 100001")) << message;
  EXPECT_THROW(reader.read_slice("tokens", -1, std::span(slice)), FileError);
}

TEST_F(Hdf5FileTest, AttributesComeBack) {
  Hdf5File writer = Hdf5File::create(path_);
  writer.write("group/data", std::vector<std::uint8_t>{1});
  writer.write_attribute("text", "two\nlines, ü");
  writer.write_attribute("empty", "");
  writer.write_attribute("version", 3);
  writer.write_attribute("rate", 0.1, "group/data");
  EXPECT_THROW(writer.write_attribute("long", std::string(60001, 'x')), WriteError);
  writer.close();
  const Hdf5File reader = Hdf5File::open(path_);
  EXPECT_EQ(reader.text_attribute("text"), "two\nlines, ü");
  EXPECT_EQ(reader.text_attribute("empty"), "");
  EXPECT_EQ(reader.integer_attribute("version"), 3);
  EXPECT_EQ(reader.real_attribute("rate", "group/data"), 0.1);
  EXPECT_TRUE(reader.has_attribute("text"));
  EXPECT_FALSE(reader.has_attribute("rate"));
  EXPECT_TRUE(holds(message_of([&] { reader.integer_attribute("text"); }), "'text' has type other, expected int64"));
  EXPECT_TRUE(holds(message_of([&] { reader.text_attribute("missing"); }), "cannot open attribute 'missing'"));
}

TEST_F(Hdf5FileTest, NamesAreListedAndFound) {
  Hdf5File writer = Hdf5File::create(path_);
  writer.write("b", std::vector<std::uint8_t>{1});
  writer.write("a/z", std::vector<std::uint8_t>{1});
  writer.write("a/c/d", std::vector<std::uint8_t>{1});
  EXPECT_EQ(writer.dataset_names(), (std::vector<std::string>{"a/c/d", "a/z", "b"}));
  EXPECT_TRUE(writer.contains("a/c/d"));
  EXPECT_FALSE(writer.contains("a/c"));
  EXPECT_THROW(writer.write("b", std::vector<std::uint8_t>{2}), WriteError);
}

TEST_F(Hdf5FileTest, TheSameContentGivesTheSameBytes) {
  for (const char* name : {"one", "two"}) {
    Hdf5File writer = Hdf5File::create(directory_ / name);
    writer.write("group/tensor", counting(Shape{10, 10}));
    writer.write_attribute("text", "text");
    writer.close();
    // HDF5 notes times to the second, unless told not to.
    std::this_thread::sleep_for(std::chrono::milliseconds(1050));
  }
  EXPECT_EQ(file_content(directory_ / "one"), file_content(directory_ / "two"));
}

TEST_F(Hdf5FileTest, WhatDoesNotMatchIsRefusedByName) {
  Hdf5File writer = Hdf5File::create(path_);
  writer.write("tensor", counting(Shape{2, 3}));
  writer.close();
  EXPECT_TRUE(holds(message_of([&] { Hdf5File::create(path_); }), path_.string()));
  const Hdf5File reader = Hdf5File::open(path_);
  Tensor transposed(pool_, Shape{3, 2}, DataType::float32), wider(pool_, Shape{2, 3}, DataType::float64);
  EXPECT_EQ(message_of([&] { reader.read("tensor", transposed); }),
            path_.string() + ": data set 'tensor' has shape (2, 3), expected (3, 2)");
  EXPECT_EQ(message_of([&] { reader.read("tensor", wider); }),
            path_.string() + ": data set 'tensor' has elements of type float32, expected float64");
  EXPECT_EQ(message_of([&] { reader.info("tensor/x"); }), path_.string() + ": there is no data set 'tensor/x'");
  EXPECT_EQ(message_of([&] { reader.info(""); }), path_.string() + ": there is no data set ''");
  EXPECT_THROW(reader.length("tensor"), FileError);
}

TEST_F(Hdf5FileTest, WhatIsNotAnHdf5FileIsRefused) {
  EXPECT_EQ(message_of([&] { Hdf5File::open(path_); }), path_.string() + ": no such file");
  EXPECT_EQ(message_of([&] { Hdf5File::open(directory_.path()); }),
            directory_.path().string() + ": not a regular file");
  overwrite_file(path_, "a text, long enough to be looked at");
  EXPECT_TRUE(holds(message_of([&] { Hdf5File::open(path_); }), path_.string() + ": cannot open 'HDF5 file'"));
}

TEST_F(Hdf5FileTest, AFlippedByteAndATruncatedFileAreNoticed) {
  const Tensor source = counting(Shape{5000});
  Hdf5File writer = Hdf5File::create(path_);
  writer.write("tensor", source);
  writer.close();
  const std::string intact = file_content(path_);
  const std::string bytes(reinterpret_cast<const char*>(source.raw().data()), source.bytes());
  const std::size_t offset = intact.find(bytes);
  ASSERT_NE(offset, std::string::npos);

  flip_byte(path_, offset + 1234);
  Tensor target(pool_, Shape{5000}, DataType::float32);
  EXPECT_TRUE(
      holds(message_of([&] { Hdf5File::open(path_).read("tensor", target); }), "cannot read data set 'tensor'"));
  overwrite_file(path_, intact.substr(0, intact.size() - 1));
  EXPECT_THROW(Hdf5File::open(path_), FileError);
}

TEST_F(Hdf5FileTest, ADeclaredSizeThatTheFileCannotHoldIsRefused) {
  Hdf5File writer = Hdf5File::create(path_);
  writer.write("tensor", counting(Shape{4}));
  writer.close();
  {
    const hdf5::Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const hsize_t huge = hsize_t{1} << 50, some = 100;
    for (const auto& [name, extent] : {std::pair{"huge", huge}, std::pair{"unwritten", some}}) {
      const hdf5::Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
      const hdf5::Handle dataset(
          H5Dcreate2(file.get(), name, H5T_IEEE_F32LE, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose);
      ASSERT_GE(dataset.get(), 0);
    }
    ASSERT_GE(H5Lcreate_soft("tensor", file.get(), "soft", H5P_DEFAULT, H5P_DEFAULT), 0);
    ASSERT_GE(H5Lcreate_external("other.h5", "tensor", file.get(), "external", H5P_DEFAULT, H5P_DEFAULT), 0);
  }
  const Hdf5File reader = Hdf5File::open(path_);
  EXPECT_TRUE(holds(message_of([&] { reader.read_vector<float>("huge"); }), "declares more elements than its file"));
  EXPECT_TRUE(holds(message_of([&] { reader.read_vector<float>("unwritten"); }), "stores 0 bytes, expected 400"));
  EXPECT_TRUE(holds(message_of([&] { reader.info("soft"); }), "reached through a link"));
  EXPECT_TRUE(holds(message_of([&] { reader.info("external"); }), "reached through a link"));
  EXPECT_EQ(reader.dataset_names(), (std::vector<std::string>{"huge", "tensor", "unwritten"}));
}

/// Lets no file grow beyond `bytes` while it lives: what a full disk looks like to a program.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST_F(Hdf5FileTest, AFullDiskIsReported) {
  const Tensor tensor = counting(Shape{1'000'000});
  const FileSizeLimit limit(100'000);
  Hdf5File writer = Hdf5File::create(path_);
  const std::string message = message_of<WriteError>([&] {
    writer.write("tensor", tensor);
    writer.close();
  });
  EXPECT_TRUE(holds(message, path_.string() + ": cannot write")) << message;
  EXPECT_TRUE(holds(message, "File too large")) << message;
}

}  // namespace
}  // namespace palimpsest
