#include "launch/inference/text_documents.h"

#include <stdlib.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <system_error>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "core/error.h"
#include "data/text/corpus.h"
#include "data/tokens/round_trip.h"

namespace palimpsest {

namespace {

namespace fs = std::filesystem;

/// A new folder among the temporary files, which goes with this. No other process has one of its name, on whatever host
/// or in whatever container.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_(create()) {}
  ~TemporaryFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  static std::string create() {
    std::error_code error;
    std::string path = (fs::temp_directory_path(error) / "palimpsest-texts-XXXXXX").string();
    if (error) {
      const char* named = std::getenv("TMPDIR");
      path = named == nullptr ? "/tmp" : named;
    } else if (mkdtemp(path.data()) == nullptr) {
      error = {errno, std::generic_category()};
    }
    if (error) {
      throw WriteError(fmt::format("{}: cannot hold temporary files: {}; TMPDIR names another folder for them", path,
                                   error.message()));
    }
    return path;
  }

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
  const TemporaryFolder folder;
  const fs::path packed = folder / "texts.h5";
  TokenFileWriter writer(packed, tokenizer);
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
  return std::make_unique<TokenFile>(packed);  // open, it outlives its name
}

}  // namespace palimpsest
