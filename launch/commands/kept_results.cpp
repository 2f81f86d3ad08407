#include "launch/commands/kept_results.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>
#include <unordered_map>
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

void KeptResults::add(std::size_t place, std::string text) {
  if (!path_.empty()) unkept_ += text;
  texts_.emplace(place, std::move(text));
  if (!path_.empty()) return;
  for (auto first = texts_.begin(); first != texts_.end() && first->first == next_; first = texts_.erase(first)) {
    ++next_;
    write_to_stdout(first->second);
  }
}

void KeptResults::keep() {
  if (unkept_.empty()) return;
  for (int number = 1; !file_; ++number) {
    own_partial_ = partial(number);
    std::error_code error;
    if (number < most_partial_files && fs::exists(fs::symlink_status(own_partial_, error))) continue;
    file_.emplace(Descriptor::for_writing(own_partial_, O_CREAT | O_EXCL | O_WRONLY | O_APPEND));
  }
  file_->write(unkept_);
  file_->synchronize();
  unkept_.clear();
}

std::optional<fs::path> KeptResults::finish(bool complete) {
  if (path_.empty()) {
    write_to_stdout(joined());
    return std::nullopt;
  }
  if (texts_.empty() && !complete) return std::nullopt;
  if (!complete && !unkept_.empty()) {
    write_to_stdout(joined());
    return std::nullopt;
  }
  if (complete) {
    try {
      write_result(path_, joined());
    } catch (const WriteError&) {
      write_to_stdout(joined());
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

/// Whether it consists of some of these texts, in any order; the last may be cut off.
bool KeptResults::holds_all_of(const fs::path& file) const {
  std::ifstream stream(file, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) return false;
  const auto first_line = [](std::string_view text) { return text.substr(0, text.find('\n')); };
  std::unordered_multimap<std::string_view, std::string_view> by_first_line;
  for (const auto& [place, text] : texts_) by_first_line.emplace(first_line(text), text);
  std::string_view rest = content;
  while (!rest.empty()) {
    const auto [begin, end] = by_first_line.equal_range(first_line(rest));
    const auto found = std::find_if(begin, end, [&](const auto& one) { return rest.starts_with(one.second); });
    if (found == end) break;
    rest.remove_prefix(found->second.size());
  }
  return rest.empty() || std::ranges::any_of(texts_, [&](const auto& one) { return one.second.starts_with(rest); });
}

std::string KeptResults::joined() const {
  std::string all;
  for (const auto& [place, text] : texts_) all += text;
  return all;
}

}  // namespace palimpsest
