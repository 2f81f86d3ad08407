// Safetensors files: what is written is read back, element types are converted exactly, and what is not the format to
// the letter is refused by name.
#include "core/io/safetensors.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "core/io/json_file.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"
#include "tests/tensors.h"

namespace palimpsest {
namespace {

template <class T>
std::string bytes_of(std::vector<T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// A file with this header and these data, whatever they are.
std::string file_of(const std::string& header, const std::string& data) {
  return bytes_of<std::uint64_t>({header.size()}) + header + data;
}

class Safetensors : public ::testing::Test {
 protected:
  /// The message with which the file is refused.
  std::string refusal(const std::string& content) {
    overwrite_file(path_, content);
    const std::string message = message_of([&] { SafetensorsFile{path_}; });
    EXPECT_TRUE(message.starts_with(path_.string() + ": ")) << message;
    return message;
  }
  std::vector<float> read(const std::string& content) {
    overwrite_file(path_, content);
    const SafetensorsFile file(path_);
    return read(file, file.entries().front());
  }
  static std::vector<float> read(const SafetensorsFile& file, const SafetensorsEntry& entry) {
    std::vector<float> values(static_cast<std::size_t>(entry.shape.elements()));
    file.read(entry, 0, values);
    return values;
  }
  StateDictionary two_tensors() {
    StateDictionary tensors;
    tensors.add("model.b.weight", testing::normal_tensor(pool_, {7, 5}, DataType::float32, 1));
    tensors.add("a", testing::normal_tensor(pool_, {3}, DataType::float32, 2));
    return tensors;
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "model.safetensors";
  MemoryPool pool_;
};

TEST_F(Safetensors, ReadsBackWhatItWrites) {
  const StateDictionary tensors = two_tensors();
  write_safetensors(path_, tensors, DataType::float32, {{"format", "pt"}});
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(file.entries().size(), 2u);
  EXPECT_EQ(file.entries()[0].name, "model.b.weight");
  EXPECT_EQ(file.entries()[0].shape, (Shape{7, 5}));
  EXPECT_EQ(file.entries()[1].begin, 140u);
  for (const SafetensorsEntry& entry : file.entries()) {
    const auto expected = tensors.at(entry.name).values<float>();
    EXPECT_EQ(read(file, entry), std::vector<float>(expected.begin(), expected.end())) << entry.name;
  }
  std::vector<float> middle(4);
  file.read(file.entries()[0], 30, middle);
  EXPECT_EQ(middle[3], tensors.at("model.b.weight").values<float>()[33]);
  EXPECT_THROW(file.read(file.entries()[0], 32, middle), FileError);
  // Nothing else is left in the folder.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1);
}

TEST_F(Safetensors, HeaderIsAsOthersWriteIt) {
  write_safetensors(path_, two_tensors(), DataType::bfloat16, {});
  const std::string content = file_content(path_);
  std::uint64_t length = 0;
  std::memcpy(&length, content.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_EQ(content.size(), 8 + length + 2 * (35 + 3));
  EXPECT_EQ(parse_json(content.substr(8, length), "header"),
            parse_json(R"({"model.b.weight": {"dtype": "BF16", "shape": [7, 5], "data_offsets": [0, 70]},
                           "a": {"dtype": "BF16", "shape": [3], "data_offsets": [70, 76]}})",
                       "expected"));
}

TEST_F(Safetensors, ConvertsEveryTypeOfRealNumbers) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  // Signs, the smallest and largest subnormal, the smallest and largest normal number, infinities.
  EXPECT_EQ(read(file_of(R"({"x": {"dtype": "F16", "shape": [10], "data_offsets": [0, 20]}})",
                         bytes_of<std::uint16_t>(
                             {0x0000, 0x3c00, 0xc000, 0x3555, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0xfc00}))),
            (std::vector<float>{0.0f, 1.0f, -2.0f, 0x1.554p-2f, 0x1p-24f, 0x1.ff8p-15f, 0x1p-14f, 65504.0f, infinity,
                                -infinity}));
  const std::vector<float> special = read(file_of(R"({"x": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}})",
                                                  bytes_of<std::uint16_t>({0x8000, 0x7e00})));
  EXPECT_TRUE(std::signbit(special[0]) && special[0] == 0.0f && std::isnan(special[1]));
  EXPECT_EQ(read(file_of(R"({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}})",
                         bytes_of<std::uint16_t>({0x3f80, 0xc049}))),
            (std::vector<float>{1.0f, -3.140625f}));
  EXPECT_EQ(read(file_of(R"({"x": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}})",
                         bytes_of<double>({0.1, -1e300}))),
            (std::vector<float>{0.1f, -infinity}));
  EXPECT_TRUE(holds(
      message_of([&] { read(file_of(R"({"x": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}})", "abcd")); }),
      "the tensor 'x' is of type I32, expected F32, BF16, F16 or F64"));
}

TEST_F(Safetensors, BeginsInAnyOrderAndMayBeEmpty) {
  overwrite_file(path_, file_of(R"({"b": {"shape": [1], "data_offsets": [4, 8], "dtype": "F32"},
                                    "none": {"dtype": "F32", "shape": [0, 3], "data_offsets": [4, 4]},
                                    "__metadata__": {"k": "v"},
                                    "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}   )",
                                bytes_of<float>({1.0f, 2.0f})));
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.entries().size(), 3u);
  EXPECT_EQ(read(file, file.entries()[0]), std::vector<float>{1.0f});
  EXPECT_EQ(file.entries()[1].name, "none");
  EXPECT_TRUE(read(file, file.entries()[1]).empty());
  EXPECT_EQ(read(file, file.entries()[2]), std::vector<float>{2.0f});
  overwrite_file(path_, file_of("{}", ""));
  EXPECT_TRUE(SafetensorsFile(path_).entries().empty());
}

TEST_F(Safetensors, RefusesLengthsBeyondTheFile) {
  EXPECT_TRUE(holds(refusal("{}"), "2 bytes, fewer than the 8"));
  EXPECT_TRUE(holds(refusal(bytes_of<std::uint64_t>({3}) + "{}"), "a header of 3 bytes in a file of 10"));
  EXPECT_TRUE(holds(refusal(bytes_of<std::uint64_t>({~0ull}) + "{}"), "a header of 18446744073709551615 bytes"));
  std::filesystem::resize_file(path_, 100'000'100);  // sparse: it takes no room
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  file << bytes_of<std::uint64_t>({100'000'001});
  file.close();
  EXPECT_TRUE(holds(message_of([&] { SafetensorsFile{path_}; }), "at most 100000000 are allowed"));
  EXPECT_TRUE(holds(message_of([&] { SafetensorsFile{directory_.path()}; }), "not a regular file"));
  EXPECT_TRUE(holds(message_of([&] { SafetensorsFile{directory_ / "none"}; }), "no such file"));
}

TEST_F(Safetensors, RefusesHeadersThatAreNotTheFormat) {
  const std::string tensor = R"({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})";
  const auto header = [&](const std::string& text) { return refusal(file_of(text, "abcd")); };
  EXPECT_TRUE(holds(header(" {\"x\": " + tensor + "}"), "the header is no JSON object"));
  EXPECT_TRUE(holds(header("[]"), "the header is no JSON object"));
  EXPECT_TRUE(holds(header("{\"x\": " + tensor), "the header is not JSON at byte"));
  EXPECT_TRUE(holds(header("{\"x\": " + tensor + "} {}"), "the header is not JSON at byte"));
  EXPECT_TRUE(holds(header("{\"x\": " + tensor + ", \"x\": " + tensor + "}"), "the tensor 'x' is there twice"));
  EXPECT_TRUE(holds(header(R"({"x": {"dtype": "F32", "dtype": "F32"}})"), "'x' has the key 'dtype' twice"));
  EXPECT_TRUE(holds(header(R"({"x": {"dtype": "F4"}})"), "'x' has the unknown type 'F4'"));
  EXPECT_TRUE(holds(header(R"({"x": {"kind": 1}})"), "'x' has the unknown key 'kind'"));
  EXPECT_TRUE(holds(header(R"({"x": {"dtype": "F32", "shape": [1]}})"), "'x' has no 'data_offsets'"));
  EXPECT_TRUE(holds(header(R"({"x": 4})"), "'x' has 4 where its type, shape and data_offsets should stand"));
  EXPECT_TRUE(holds(header(R"({"x": {"shape": [-1]}})"), "'x' has -1 where its shape should stand"));
  EXPECT_TRUE(holds(header(R"({"x": {"shape": [1.0]}})"), "'x' has 1.0 where its shape should stand"));
  EXPECT_TRUE(holds(header(R"({"x": {"shape": [18446744073709551615]}})"), "which no file can reach"));
  EXPECT_TRUE(holds(header(R"({"x": {"shape": [[1]]}})"), "'x' has a list where its shape should stand"));
  EXPECT_TRUE(holds(header(R"({"x": {"shape": 1}})"), "'x' has 1 where its shape should stand"));
  EXPECT_TRUE(holds(header(R"({"x": {"shape": [1, 1, 1, 1, 1, 1]}})"), "at most 5 are supported"));
  EXPECT_TRUE(holds(header(R"({"x": {"shape": [1, 1, 1, 1, 1, 1, 1, 1, 1]}})"), "more than 8 numbers"));
  EXPECT_TRUE(holds(header(R"({"x": {"shape": [4294967296, 4294967296]}})"), "more elements than memory"));
  EXPECT_TRUE(holds(header(R"({"x": {"data_offsets": [4, 0]}})"), "'x' has 2 data_offsets"));
  EXPECT_TRUE(holds(header(R"({"x": {"data_offsets": [0, 4, 4]}})"), "'x' has 3 data_offsets"));
  EXPECT_TRUE(holds(header(R"({"__metadata__": {"a": 1}})"), "has 1 where the text of a key of __metadata__"));
  EXPECT_TRUE(holds(header(R"({"__metadata__": {"a": {}}})"), "an object where the text of a key of __metadata__"));
  EXPECT_TRUE(holds(header(R"({"__metadata__": {"a": "b", "a": "b"}})"), "has the key 'a' twice"));
  EXPECT_TRUE(holds(header("{\"x\": " + std::string(1'000'000, '[')), "'x' has a list where"));
  EXPECT_TRUE(holds(header("{\"\xff\": " + tensor + "}"), "the header is not JSON at byte"));
}

TEST_F(Safetensors, RefusesDataThatTheHeaderDoesNotCover) {
  const auto header = [&](const std::string& text) { return refusal(file_of(text, "abcdabcd")); };
  const auto tensor = [](const std::string& name, int begin, int end, int elements) {
    return "\"" + name + R"(": {"dtype": "F32", "shape": [)" + std::to_string(elements) + R"(], "data_offsets": [)" +
           std::to_string(begin) + ", " + std::to_string(end) + "]}";
  };
  EXPECT_TRUE(holds(header("{" + tensor("x", 0, 8, 1) + "}"), "8 bytes of data, but (1) elements of type F32 take 4"));
  EXPECT_TRUE(holds(header("{" + tensor("x", 0, 4, 1) + "}"), "has 8 bytes of data, but its tensors end at 4"));
  EXPECT_TRUE(holds(header("{" + tensor("x", 0, 12, 3) + "}"), "has 8 bytes of data, but its tensors end at 12"));
  EXPECT_TRUE(holds(header("{" + tensor("x", 4, 8, 1) + "}"), "'x' begins at byte 4 of the data, but those before"));
  EXPECT_TRUE(holds(header("{" + tensor("x", 0, 8, 2) + ", " + tensor("y", 4, 8, 1) + "}"),
                    "'y' begins at byte 4 of the data, but those before it end at 8"));
  EXPECT_TRUE(holds(header("{}"), "has 8 bytes of data, but its tensors end at 0"));
}

TEST_F(Safetensors, RoundsToBfloat16) {
  StateDictionary tensors;
  tensors.add("x",
              Tensor::from_values(pool_, {3}, DataType::float32, std::vector<double>{1.00390625, 1.01171875, -2.5}));
  write_safetensors(path_, tensors, DataType::bfloat16, {});
  const SafetensorsFile file(path_);
  EXPECT_EQ(read(file, file.entries().front()), (std::vector<float>{1.0f, 1.015625f, -2.5f}));  // ties to even
}

TEST_F(Safetensors, FolderOfOneFileOrOfShards) {
  const StateDictionary tensors = two_tensors();
  for (const std::uint64_t shard_bytes : {1'000, 140, 1}) {
    const auto folder = directory_ / std::to_string(shard_bytes);
    std::filesystem::create_directory(folder);
    write_safetensors_folder(folder, tensors, DataType::float32, {{"format", "pt"}}, shard_bytes);
    EXPECT_EQ(std::filesystem::exists(folder / "model.safetensors"), shard_bytes == 1'000);
    EXPECT_EQ(std::filesystem::exists(folder / "model-00002-of-00002.safetensors"), shard_bytes < 1'000);
    const SafetensorsFolder read_back(folder);
    ASSERT_EQ(read_back.tensors().size(), 2u);
    for (const auto& [name, place] : read_back.tensors()) {
      const auto expected = tensors.at(name).values<float>();
      std::vector<float> values(expected.size());
      place.read(0, values);
      EXPECT_EQ(values, std::vector<float>(expected.begin(), expected.end())) << name;
    }
  }
}

TEST_F(Safetensors, IndexAndFilesHaveToAgree) {
  const auto folder = directory_.path();
  const auto refusal_of = [&] { return message_of([&] { SafetensorsFolder{folder}; }); };
  EXPECT_TRUE(holds(refusal_of(), "has neither model.safetensors and model.safetensors.index.json"));
  write_safetensors_folder(folder, two_tensors(), DataType::float32, {}, 140);
  const auto index = folder / SafetensorsFolder::index_name;
  const std::string sound = file_content(index);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = sound;
    text.replace(text.find(from), from.size(), to);
    overwrite_file(index, text);
    return refusal_of();
  };
  EXPECT_TRUE(holds(with("\"a\"", "\"c\""), "the tensor 'c' is not in model-00002-of-00002.safetensors"));
  EXPECT_TRUE(holds(with("\"a\": \"model-00002", "\"a\": \"model-00001"), "model-00001-of-00002.safetensors"));
  EXPECT_TRUE(holds(with("\"a\": \"model-00002", "\"a\": \"../model-00002"), "the name of a file beside the index"));
  EXPECT_TRUE(holds(with("\"a\": \"model-00002", "\"a\": \"model-00003"), "no such file"));
  EXPECT_TRUE(holds(with("weight_map", "weights"), "has no object 'weight_map'"));
  overwrite_file(index, R"({"weight_map": {"model.b.weight": "model-00001-of-00002.safetensors"}})");
  EXPECT_EQ(SafetensorsFolder(folder).tensors().size(), 1u);  // a file that is not named is not the model's
  std::filesystem::copy_file(folder / "model-00001-of-00002.safetensors", folder / "again.safetensors");
  overwrite_file(index, R"({"weight_map": {"model.b.weight": "model-00001-of-00002.safetensors",
                                           "x": "again.safetensors"}})");
  EXPECT_TRUE(holds(refusal_of(), "the tensor 'model.b.weight' is in"));
  write_safetensors(folder / "both.safetensors", two_tensors(), DataType::float32, {});
  overwrite_file(index, R"({"weight_map": {"a": "both.safetensors"}})");
  EXPECT_TRUE(holds(refusal_of(), "the tensor 'model.b.weight' of both.safetensors is not in the index"));
  write_safetensors(folder / SafetensorsFolder::file_name, two_tensors(), DataType::float32, {});
  EXPECT_TRUE(holds(refusal_of(), "has both model.safetensors and model.safetensors.index.json"));
}

}  // namespace
}  // namespace palimpsest
