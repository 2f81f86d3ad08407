#include "data/text/line_blocks.h"

#include <algorithm>
#include <array>
#include <span>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

namespace {

constexpr std::size_t read_at_once = std::size_t{1} << 18;

}  // namespace

LineBlocks::LineBlocks(const std::filesystem::path& path, std::uint64_t begin, std::uint64_t end,
                       std::size_t block_bytes, std::uint64_t longest_line)
    : path_(path),
      // From the byte before on: only a line feed there says that a line begins at `begin`.
      input_(open_input(path, begin == 0 ? 0 : begin - 1)),
      end_(end),
      block_bytes_(block_bytes),
      longest_line_(longest_line),
      offset_(begin == 0 ? 0 : begin - 1) {
  if (begin > 0) skip_line();
}

bool LineBlocks::read_more() {
  const std::size_t size = pending_.size();
  pending_.resize(size + read_at_once);
  const std::size_t count = input_->read(std::span(pending_).subspan(size));
  pending_.resize(size + count);
  return count > 0;
}

void LineBlocks::skip_line() {
  for (;;) {
    if (pending_.empty() && !read_more()) return;
    const std::size_t feed = pending_.find('\n');
    const std::size_t skipped = feed == std::string::npos ? pending_.size() : feed + 1;
    pending_.erase(0, skipped);
    offset_ += skipped;
    if (feed != std::string::npos) return;
  }
}

std::optional<LineBlock> LineBlocks::next() {
  if (offset_ >= end_) return std::nullopt;
  // Of what begins at offset_, lines up to the first that ends behind block_bytes_ or the range.
  const std::uint64_t wanted = std::min<std::uint64_t>(block_bytes_, end_ - offset_);
  std::size_t searched = 0;
  for (;;) {
    const std::size_t from = std::max<std::size_t>(searched, static_cast<std::size_t>(wanted) - 1);
    const std::size_t feed = pending_.size() > from ? pending_.find('\n', from) : std::string::npos;
    const std::size_t end = feed == std::string::npos ? pending_.size() : feed + 1;
    require_short_line(end);
    searched = pending_.size();
    if (feed == std::string::npos && read_more()) continue;
    if (end == 0) return std::nullopt;
    LineBlock block{pending_.substr(0, end), offset_};
    pending_.erase(0, end);
    offset_ += end;
    return block;
  }
}

void LineBlocks::require_short_line(std::size_t end) const {
  if (end <= longest_line_) return;
  const std::size_t feed = pending_.rfind('\n', end - 2);
  const std::size_t begin = feed == std::string::npos ? 0 : feed + 1;
  if (end - begin <= longest_line_) return;
  throw DataError(fmt::format("{}: line {} has more than {} bytes", path_.string(), line_at(path_, offset_ + begin),
                              longest_line_));
}

std::int64_t line_at(const std::filesystem::path& path, std::uint64_t offset) {
  const std::unique_ptr<ByteInput> input = open_input(path, 0);
  std::vector<char> buffer(read_at_once);
  std::int64_t line = 1;
  while (offset > 0) {
    const auto some = std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(offset, read_at_once)));
    const std::size_t count = input->read(some);
    if (count == 0) break;
    line += std::count(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count), '\n');
    offset -= count;
  }
  return line;
}

}  // namespace palimpsest
