#include "launch/commands/kept_results.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/output/standard_output.h"
#include "launch/training/run_directory.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

constexpr int most_partial_files = 100;

}  // namespace

KeptResults::KeptResults(fs::path path) : path_(std::move(path)) {
  if (!path_.empty()) require_writable_result(path_);
}

void KeptResults::add(std::string text) {
  if (path_.empty()) return write_to_stdout(text);
  texts_.push_back(std::move(text));
}

void KeptResults::keep() {
  if (kept_ == texts_.size()) return;
  for (int number = 1; !file_; ++number) {
    own_partial_ = partial(number);
    std::error_code error;
    if (number < most_partial_files && fs::exists(fs::symlink_status(own_partial_, error))) continue;
    file_.emplace(Descriptor::for_writing(own_partial_, O_CREAT | O_EXCL | O_WRONLY | O_APPEND));
  }
  file_->write(joined(kept_));
  file_->synchronize();
  kept_ = texts_.size();
}

std::optional<fs::path> KeptResults::finish(bool complete) {
  if (texts_.empty() && (!complete || path_.empty())) return std::nullopt;
  if (!complete && kept_ < texts_.size()) {
    write_to_stdout(joined(0));
    return std::nullopt;
  }
  if (complete) {
    try {
      write_result(path_, joined(0));
    } catch (const WriteError&) {
      write_to_stdout(joined(0));
      throw;
    }
  }
  const fs::path results = complete ? path_ : own_partial_;
  remove_partial_files_within(results);
  return results;
}

fs::path KeptResults::partial(int number) const {
  fs::path path = path_;
  const std::string mark = number == 1 ? ".partial" : fmt::format(".partial-{}", number);
  return path.replace_extension(mark + path.extension().string());
}

void KeptResults::remove_partial_files_within(const fs::path& results) const {
  std::error_code error;
  for (int number = 1; number <= most_partial_files; ++number) {
    const fs::path path = partial(number);
    if (path != results && fs::is_regular_file(path, error) && holds_all_of(path)) fs::remove(path, error);
  }
}

/// Whether it consists of some of these texts, in their order; the last may be cut off.
bool KeptResults::holds_all_of(const fs::path& file) const {
  std::ifstream stream(file, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) return false;
  std::string_view rest = content;
  for (const std::string& one : texts_) {
    if (rest.starts_with(one)) rest.remove_prefix(one.size());
  }
  return std::ranges::any_of(texts_, [&](const std::string& one) { return one.starts_with(rest); });
}

std::string KeptResults::joined(std::size_t begin) const {
  std::string text;
  for (std::size_t i = begin; i < texts_.size(); ++i) text += texts_[i];
  return text;
}

}  // namespace palimpsest
