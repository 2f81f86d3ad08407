// The rules of the house, read from the sources themselves: includes between the folders point one
// way, every include of ours is written from the repository's root, and each outside library stays
// in the rooms it has been given. No file grows past 400 lines, and no thread keeps memory of its own.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

/// What the files of a folder may include from; a test may include what the folder it tests may.
const std::map<std::string, std::set<std::string>> allowed_folders = {
    {"core", {"core"}},
    {"autograd", {"core", "autograd"}},
    {"layers", {"core", "autograd", "layers"}},
    {"optim", {"core", "autograd", "optim"}},
    {"data", {"core", "data"}},
    {"configs", {"core", "autograd", "layers", "optim", "data", "configs"}},
    {"launch", {"core", "autograd", "layers", "optim", "data", "configs", "launch"}},
};

/// The rooms of launch/ and the floors of core/: the path that a file's begins with (the longest counts), and whose
/// files it may include. launch/main.cpp stands above all rooms.
const std::map<std::string, std::set<std::string>> allowed_rooms = {
    {"core/", {"core/"}},
    {"core/products/", {"core/", "core/products/"}},
    {"core/matmul", {"core/", "core/products/", "core/matmul"}},
    {"core/kernels/", {"core/", "core/products/", "core/matmul", "core/kernels/"}},
    {"core/comm/", {"core/", "core/comm/"}},
    {"core/io/", {"core/", "core/io/"}},
    {"data/text/", {"data/text/"}},
    {"data/tokens/", {"data/text/", "data/tokens/"}},
    {"data/stream/", {"data/text/", "data/tokens/", "data/stream/"}},
    {"launch/output/", {"launch/output/"}},
    {"launch/ranks/", {"launch/output/", "launch/ranks/"}},
    {"launch/checkpoint/", {"launch/output/", "launch/ranks/", "launch/checkpoint/"}},
    {"launch/inference/", {"launch/output/", "launch/ranks/", "launch/inference/"}},
    {"launch/training/",
     {"launch/output/", "launch/ranks/", "launch/checkpoint/", "launch/inference/", "launch/measures/",
      "launch/training/"}},
    {"launch/library/",
     {"launch/output/", "launch/ranks/", "launch/checkpoint/", "launch/inference/", "launch/training/",
      "launch/library/"}},
    {"launch/c_interface/", {"launch/output/", "launch/inference/", "launch/library/", "launch/c_interface/"}},
    {"launch/benchmark/", {"launch/output/", "launch/ranks/", "launch/training/", "launch/benchmark/"}},
    {"launch/exchange/",
     {"launch/output/", "launch/ranks/", "launch/checkpoint/", "launch/inference/", "launch/training/",
      "launch/exchange/"}},
    {"launch/report/",
     {"launch/output/", "launch/ranks/", "launch/checkpoint/", "launch/inference/", "launch/measures/",
      "launch/training/", "launch/report/"}},
    {"launch/measures/", {"launch/output/", "launch/measures/"}},
    {"launch/search/", {"launch/output/", "launch/ranks/", "launch/inference/", "launch/measures/", "launch/search/"}},
    {"launch/commands/",
     {"launch/output/", "launch/ranks/", "launch/checkpoint/", "launch/inference/", "launch/training/",
      "launch/benchmark/", "launch/exchange/", "launch/report/", "launch/measures/", "launch/search/",
      "launch/commands/"}},
};

struct VendorRule {
  std::regex header;
  std::vector<std::string> rooms;  // beginnings of the paths where it may stand
};

const std::vector<VendorRule> vendor_rules = {
    {std::regex("(oneapi/dnnl/)?dnnl.*"), {"core/products/onednn.cpp"}},
    {std::regex("mpi(-ext)?\\.h"), {"core/comm/", "tests/mpi/", "tests/bench/"}},
    {std::regex("(hdf5(_hl)?|H5.*)\\.h"), {"core/io/"}},
    {std::regex("xxhash\\.h"), {"core/io/"}},
    {std::regex("yaml-cpp/.*"), {"configs/"}},
    {std::regex("sentencepiece.*"), {"data/", "tests/data/", "tests/fuzz/"}},
    {std::regex("unicode/.*"), {"data/"}},
    {std::regex("(zlib|zstd)\\.h"), {"data/text/compressed_input.cpp", "tests/data/", "tests/fuzz/"}},
    {std::regex("CLI/.*"), {"launch/commands/", "launch/main.cpp"}},
    {std::regex("histedit\\.h"), {"launch/output/line_reader.cpp"}},
    {std::regex("libstemmer\\.h"), {"launch/measures/stemmer.cpp"}},
    {std::regex("xapian\\.h"), {"launch/search/bm25.cpp"}},
    {std::regex("hwloc.*"), {"launch/benchmark/machine_topology.cpp"}},
};

std::string first_folder(const std::string& path) { return path.substr(0, path.find('/')); }

/// The folder whose rules a file follows: that of `tests/data/x_test.cpp` is data.
std::string governing_folder(const std::string& path) {
  return first_folder(path) == "tests" ? first_folder(path.substr(path.find('/') + 1)) : first_folder(path);
}

/// The room or floor that a path stands in; nothing where there are none.
std::string room_of(const std::string& path) {
  std::string longest;
  for (const auto& [room, below] : allowed_rooms) {
    if (path.starts_with(room) && room.size() > longest.size()) longest = room;
  }
  return longest;
}

bool starts_with_any(const std::string& path, const std::vector<std::string>& beginnings) {
  for (const std::string& beginning : beginnings) {
    if (path.starts_with(beginning)) return true;
  }
  return false;
}

/// The broken rule of one include, or nothing.
std::string violation(const std::string& path, bool quoted, const std::string& header) {
  for (const VendorRule& rule : vendor_rules) {
    if (std::regex_match(header, rule.header) && !starts_with_any(path, rule.rooms)) {
      return "<" + header + "> belongs in " + rule.rooms.front();
    }
  }
  if (!quoted || header.starts_with("tests/")) return "";
  if (!allowed_folders.contains(first_folder(header))) return "\"" + header + "\" is not a path from the root";
  const auto allowed = allowed_folders.find(governing_folder(path));
  if (allowed == allowed_folders.end()) return "";  // tests/mpi, tests/bench: any folder
  if (!allowed->second.contains(first_folder(header))) {
    return "\"" + header + "\": " + allowed->first + " must not depend on " + first_folder(header);
  }
  const std::string from = room_of(path), to = room_of(header);
  if (!from.empty() && first_folder(path) == first_folder(header) && !allowed_rooms.at(from).contains(to)) {
    return "\"" + header + "\": " + from + " must not depend on " + to;
  }
  return "";
}

/// Every broken rule of one file, as "path:line: what".
std::vector<std::string> violations(const std::string& path, std::istream& source) {
  static const std::regex include(R"re(\s*#\s*include\s*(["<])([^">]+)[">].*)re");
  std::vector<std::string> found;
  std::string line;
  for (int number = 1; std::getline(source, line); ++number) {
    std::smatch match;
    if (!std::regex_match(line, match, include)) continue;
    const std::string what = violation(path, match[1] == "\"", match[2]);
    if (!what.empty()) found.push_back(fmt::format("{}:{}: {}", path, number, what));
  }
  return found;
}

std::vector<std::string> source_paths() {
  const fs::path root = PALIMPSEST_SOURCE_DIR;
  std::vector<std::string> paths;
  for (const std::string folder : {"core", "autograd", "layers", "optim", "data", "configs", "launch", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const fs::path extension = entry.path().extension();
      if (extension == ".h" || extension == ".cpp") paths.push_back(fs::relative(entry.path(), root).string());
    }
  }
  return paths;
}

std::vector<std::string> check(const std::string& path, const std::string& text) {
  std::istringstream source(text);
  return violations(path, source);
}

TEST(IncludeRules, HoldInEverySourceFile) {
  const std::vector<std::string> paths = source_paths();
  ASSERT_GT(paths.size(), 50u) << "the sources were not found under " << PALIMPSEST_SOURCE_DIR;
  for (const std::string& path : paths) {
    std::ifstream source(fs::path(PALIMPSEST_SOURCE_DIR) / path);
    for (const std::string& what : violations(path, source)) ADD_FAILURE() << what;
  }
}

TEST(IncludeRules, FindAnIncludeAgainstTheDirection) {
  EXPECT_EQ(check("core/tensor.cpp", "#include \"autograd/tape.h\"\n").size(), 1u);
  EXPECT_EQ(check("layers/linear.h", "#pragma once\n\n  # include \"optim/adamw.h\"  // why\n").size(), 1u);
  EXPECT_EQ(check("data/text/corpus.cpp", "#include \"autograd/variable.h\"\n").size(), 1u);
  EXPECT_EQ(check("tests/data/corpus_test.cpp", "#include \"launch/training/trainer.h\"\n").size(), 1u);
  EXPECT_EQ(check("data/text/corpus.cpp", "#include \"core/error.h\"\n#include \"data/text/tokenizer.h\"\n").size(),
            0u);
}

TEST(IncludeRules, EverySourceFileOfLaunchStandsInARoom) {
  for (const std::string& path : source_paths()) {
    if (path.starts_with("launch/") && path != "launch/main.cpp") {
      EXPECT_NE(room_of(path), "") << path;
    }
  }
}

TEST(IncludeRules, FindAnIncludeFromAnotherRoom) {
  EXPECT_EQ(check("launch/ranks/watchdog.cpp", "#include \"launch/training/trainer.h\"\n").size(), 1u);
  EXPECT_EQ(check("launch/training/trainer.h", "#include \"launch/ranks/watchdog.h\"\n").size(), 0u);
  EXPECT_EQ(check("launch/ranks/watchdog.cpp", "#include \"launch/output/exit_codes.h\"\n").size(), 0u);
  EXPECT_EQ(check("launch/inference/sampler.cpp", "#include \"launch/checkpoint/checkpoint.h\"\n").size(), 1u);
  EXPECT_EQ(check("core/tensor.cpp", "#include \"core/io/json_file.h\"\n").size(), 1u);
  EXPECT_EQ(check("core/products/row.cpp", "#include \"core/kernels/rope.h\"\n").size(), 1u);
  EXPECT_EQ(check("core/products/row.cpp", "#include \"core/matmul.h\"\n").size(), 1u);
  EXPECT_EQ(check("core/products/row.cpp", "#include \"core/matmul_shares.h\"\n").size(), 1u);
  EXPECT_EQ(check("core/kernels/memory.h", "#include \"core/products/vectors.h\"\n").size(), 0u);
  EXPECT_EQ(check("core/comm/agreement.cpp", "#include \"core/io/json_file.h\"\n").size(), 1u);
}

TEST(IncludeRules, FindALibraryOutsideItsRoom) {
  EXPECT_EQ(check("core/tensor.cpp", "#include <dnnl.hpp>\n").size(), 1u);
  EXPECT_EQ(check("core/tensor.cpp", "#include \"oneapi/dnnl/dnnl.h\"\n").size(), 1u);
  EXPECT_EQ(check("launch/training/trainer.cpp", "#include <mpi.h>\n").size(), 1u);
  EXPECT_EQ(check("launch/training/trainer.cpp", "#include <CLI/CLI.hpp>\n").size(), 1u);
  EXPECT_EQ(check("launch/commands/eval.cpp", "#include <yaml-cpp/yaml.h>\n").size(), 1u);
  EXPECT_EQ(check("data/tokens/token_file.cpp", "#include <hdf5.h>\n").size(), 1u);
  EXPECT_EQ(check("core/products/onednn.cpp", "#include <dnnl.hpp>\n").size(), 0u);
  EXPECT_EQ(check("core/comm/mpi_communicator.cpp", "#include <mpi.h>\n").size(), 0u);
}

TEST(SourceRules, FilesStayShortAndThreadsKeepNothing) {
  // What a thread may keep: oneDNN's generated code, that HDF5 has been told to be quiet, and C's last error.
  const std::set<std::string> keepers = {"core/products/onednn.cpp", "core/io/hdf5_handle.cpp",
                                         "launch/c_interface/errors.cpp"};
  const std::string keyword = std::string("thread_") + "local";
  for (const std::string& path : source_paths()) {
    std::ifstream source(fs::path(PALIMPSEST_SOURCE_DIR) / path);
    int lines = 0;
    for (std::string line; std::getline(source, line); ++lines) {
      EXPECT_TRUE(line.find(keyword) == std::string::npos || keepers.contains(path)) << path << ": " << line;
    }
    EXPECT_LE(lines, 400) << path;
  }
}

TEST(IncludeRules, FindAnIncludeThatIsNotFromTheRoot) {
  EXPECT_EQ(check("core/kernels/rope.cpp", "#include \"rope.h\"\n").size(), 1u);
  EXPECT_EQ(check("core/kernels/rope.cpp", "#include \"../tensor.h\"\n").size(), 1u);
}

}  // namespace
