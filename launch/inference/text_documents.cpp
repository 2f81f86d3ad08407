#include "launch/inference/text_documents.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "core/error.h"
#include "data/text/corpus.h"
#include "data/tokens/round_trip.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// Removes a file when it goes.
class RemovedFile {
 public:
  explicit RemovedFile(fs::path path) : path_(std::move(path)) {}
  ~RemovedFile() {
    std::error_code error;
    fs::remove(path_, error);
  }
  RemovedFile(const RemovedFile&) = delete;
  RemovedFile& operator=(const RemovedFile&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::vector<fs::path> text_files(const std::vector<std::string>& paths, std::vector<CorpusProblem>& problems) {
  std::vector<fs::path> files;
  for (const fs::path path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    const CorpusListing listing = list_corpus(path);
    if (listing.files.empty()) throw DataError(fmt::format("{}: holds no *.txt file", path.string()));
    for (const CorpusFile& file : listing.files) files.push_back(file.path);
    problems.insert(problems.end(), listing.problems.begin(), listing.problems.end());
  }
  std::set<fs::path> seen;
  for (const fs::path& file : files) {
    if (!seen.insert(file.lexically_normal()).second) {
      throw DataError(fmt::format("{}: is named twice, and would count twice", file.string()));
    }
  }
  return files;
}

}  // namespace

std::unique_ptr<TokenFile> read_text_documents(const std::vector<std::string>& paths, const Tokenizer& tokenizer) {
  std::vector<CorpusProblem> problems;
  const std::vector<fs::path> files = text_files(paths, problems);
  const RemovedFile packed(fs::temp_directory_path() / fmt::format("palimpsest-texts-{}.h5", getpid()));
  TokenFileWriter writer(packed.path(), tokenizer, /*overwrite=*/true);
  std::int64_t lossy = 0;
  for (const fs::path& path : files) {
    const auto result = read_corpus_file(path);
    if (const auto* problem = std::get_if<CorpusProblem>(&result)) {
      problems.push_back(*problem);
      continue;
    }
    if (!problems.empty()) continue;  // only to say all that is wrong
    const auto& document = std::get<CorpusDocument>(result);
    const std::vector<std::int32_t> tokens = tokenizer.encode(document.text);
    writer.add_document(path.string(), tokens, document.words, static_cast<std::int64_t>(document.text.size()));
    if (first_difference(document.text, tokenizer.decode(tokens))) ++lossy;
  }
  if (!problems.empty()) {
    std::string lines;
    for (const CorpusProblem& problem : problems) lines += fmt::format("\n  {}: {}", problem.path, problem.reason);
    throw DataError(fmt::format("{} of {} texts cannot be evaluated:{}", problems.size(), files.size(), lines));
  }
  writer.set_lossy_documents(lossy);
  writer.finish();
  return std::make_unique<TokenFile>(packed.path());  // open, it outlives its name
}

}  // namespace palimpsest
