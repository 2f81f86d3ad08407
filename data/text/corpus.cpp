#include "data/text/corpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "data/text/compressed_input.h"
#include "data/text/utf8.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

constexpr std::array<std::string_view, 3> split_names = {"train", "validation", "test"};

void require_folder(const fs::path& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (!fs::exists(status)) throw FileError(fmt::format("{}: no such folder", folder.string()));
  if (!fs::is_directory(status)) throw FileError(fmt::format("{}: is not a folder", folder.string()));
  fs::directory_iterator entries(folder, error);
  if (error) throw FileError(fmt::format("{}: cannot be listed: {}", folder.string(), error.message()));
}

/// Without what says that a file is compressed.
fs::path plain_name(const fs::path& path) {
  return compression_of(path) == Compression::none ? path : fs::path(path).replace_extension();
}

/// What the name says of a file; nothing when it is no part of a corpus.
std::optional<CorpusFormat> format_of(const fs::path& path) {
  const fs::path extension = plain_name(path).extension();
  if (extension == ".txt") return CorpusFormat::text;
  if (extension == ".jsonl") return CorpusFormat::records;
  return std::nullopt;
}

bool is_plain_text(const fs::path& path) { return path.extension() == ".txt"; }

/// The text of a compressed file; nothing when it is longer than `limit` bytes, of which hardly more are made.
std::optional<std::string> read_compressed(const fs::path& path, std::uint64_t limit) {
  constexpr std::size_t block = std::size_t{1} << 20;
  const std::unique_ptr<ByteInput> input = open_input(path);
  std::string text;
  for (std::size_t count = 1; count > 0;) {
    if (text.size() > limit) return std::nullopt;
    const std::size_t size = text.size();
    text.resize(size + block);
    count = input->read(std::span(text).subspan(size));
    text.resize(size + count);
  }
  return text;
}

CorpusFile describe_file(const fs::path& root, const fs::path& path, CorpusFormat format) {
  std::error_code unknown;
  const std::uintmax_t bytes = fs::file_size(path, unknown);
  return {.path = path,
          .name = plain_name(path).replace_extension().lexically_relative(root).generic_string(),
          .bytes = unknown ? 0 : bytes,
          .format = format};
}

// Recursion of our own, since the library's iterator ends at the first folder it may not read.
void list_folder(const fs::path& root, const fs::path& folder, CorpusKinds kinds, CorpusListing& listing) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    std::error_code ignored;
    if (fs::is_directory(entry->symlink_status(ignored))) {
      list_folder(root, path, kinds, listing);
    } else if (const auto format = format_of(path); format && !fs::is_directory(path, ignored)) {
      if (kinds == CorpusKinds::plain_texts && !is_plain_text(path)) continue;
      listing.files.push_back(describe_file(root, path, *format));
    }
  }
  if (error) {
    listing.problems.push_back(
        {CorpusProblem::Kind::unreadable, folder.string(), "cannot be listed: " + error.message()});
  }
}

}  // namespace

void drop_carriage_returns(std::string& text) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    text[end++] = text[i];
  }
  text.resize(end);
}

std::vector<TextPart> parts_of(const CorpusDocument& document) {
  std::vector<TextPart> parts;
  const std::string_view text = document.text;
  std::size_t at = 0;
  const auto add_until = [&](std::size_t end, bool masked) {
    if (end > at) parts.push_back({text.substr(at, end - at), masked});
    at = end;
  };
  for (const TextSpan& span : document.masked) {
    add_until(static_cast<std::size_t>(span.begin), false);
    add_until(static_cast<std::size_t>(span.end), true);
  }
  add_until(text.size(), false);
  return parts;
}

std::string name_of(CorpusProblem::Kind kind) {
  switch (kind) {
    case CorpusProblem::Kind::unreadable: return "unreadable";
    case CorpusProblem::Kind::empty: return "empty";
    case CorpusProblem::Kind::not_utf8: return "not UTF-8";
    case CorpusProblem::Kind::too_long: return "too long";
  }
  return "unknown";
}

std::vector<std::string> corpus_splits(const fs::path& folder) {
  require_folder(folder);
  std::vector<std::string> splits;
  for (const std::string_view name : split_names) {
    std::error_code error;
    if (fs::is_directory(folder / name, error)) splits.emplace_back(name);
  }
  return splits;
}

CorpusListing list_corpus(const fs::path& folder, CorpusKinds kinds) {
  require_folder(folder);
  CorpusListing listing;
  list_folder(folder, folder, kinds, listing);
  std::sort(listing.files.begin(), listing.files.end(), [](const CorpusFile& a, const CorpusFile& b) {
    return std::tie(a.name, a.path) < std::tie(b.name, b.path);
  });
  return listing;
}

CorpusListing list_file(const fs::path& path) {
  const auto format = format_of(path);
  if (!format)
    throw DataError(fmt::format("{}: is neither a folder nor a *.txt or *.jsonl file, compressed as .gz or .zst or not",
                                path.string()));
  return {{describe_file(path.parent_path(), path, *format)}, {}};
}

std::optional<std::string> read_text(std::istream& stream, std::uint64_t limit) {
  constexpr std::size_t block = std::size_t{1} << 20;
  std::string text;
  std::size_t size = 0;
  while (stream && size < limit) {
    text.resize(std::min<std::uint64_t>(size + block, limit));
    stream.read(text.data() + size, static_cast<std::streamsize>(text.size() - size));
    size += static_cast<std::size_t>(stream.gcount());
  }
  if (stream && stream.peek() != std::istream::traits_type::eof()) return std::nullopt;
  text.resize(size);
  return text;
}

std::variant<CorpusDocument, CorpusProblem> read_corpus_file(const fs::path& path, std::uint64_t limit,
                                                             LineEnds line_ends) {
  using Kind = CorpusProblem::Kind;
  const auto problem = [&](Kind kind, std::string reason) {
    return CorpusProblem{kind, path.string(), std::move(reason)};
  };
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return problem(Kind::unreadable, "cannot be read: " + error.message());
  if (!fs::is_regular_file(status)) return problem(Kind::unreadable, "is not a regular file");
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return problem(Kind::unreadable, fmt::format("cannot be read: {}", std::strerror(errno)));
  const bool compressed = compression_of(path) != Compression::none;
  std::optional<std::string> text = compressed ? read_compressed(path, limit) : read_text(stream, limit);
  if (stream.bad()) return problem(Kind::unreadable, fmt::format("cannot be read: {}", std::strerror(errno)));
  if (!text)
    return problem(Kind::too_long, fmt::format("has more than {} bytes: cut it into several documents", limit));
  CorpusDocument document{std::move(*text)};
  if (line_ends == LineEnds::lf) drop_carriage_returns(document.text);
  if (document.text.empty()) return problem(Kind::empty, "is empty");
  if (const auto offset = find_invalid_utf8(document.text)) {
    const auto line =
        std::count(document.text.begin(), document.text.begin() + static_cast<std::ptrdiff_t>(*offset), '\n') + 1;
    return problem(Kind::not_utf8, fmt::format("is not UTF-8: byte 0x{:02X} at offset {} (line {})",
                                               static_cast<unsigned char>(document.text[*offset]), *offset, line));
  }
  document.words = count_words(document.text);
  if (document.words == 0) return problem(Kind::empty, "holds nothing but white space");
  return document;
}

}  // namespace palimpsest
