#include "data/tokens/document_encoder.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/quiet_thread.h"
#include "core/white_space.h"
#include "data/text/compressed_input.h"

namespace palimpsest {

namespace {

constexpr std::size_t block_bytes = std::size_t{1} << 20;

/// Each with its line end.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return lines;
}

/// Whether a thread reads it by itself, its size known before.
bool is_one_piece(const CorpusFile& file) {
  return file.format == CorpusFormat::text && compression_of(file.path) == Compression::none;
}

}  // namespace

DocumentEncoder::DocumentEncoder(std::span<const CorpusFile> files, const Tokenizer& tokenizer, EncoderOptions options)
    : files_(files), tokenizer_(&tokenizer), round_trip_(tokenizer), options_(std::move(options)) {
  options_.records.line_ends = options_.line_ends;
  try {
    for (int i = 0; i < options_.threads; ++i) threads_.push_back(quiet_thread([this] { work(); }));
  } catch (...) {
    stop();
    throw;
  }
}

DocumentEncoder::~DocumentEncoder() { stop(); }

void DocumentEncoder::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  room_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::optional<EncodedPiece> DocumentEncoder::next() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] {
    return finished_.contains(taken_) || (file_ == files_.size() && !reading_ && taken_ == claimed_);
  });
  if (!finished_.contains(taken_)) return std::nullopt;
  Result result = std::move(finished_.extract(taken_).mapped());
  held_ -= result.held;
  ++taken_;
  lock.unlock();
  room_.notify_all();
  if (const auto* error = std::get_if<std::exception_ptr>(&result.piece)) std::rethrow_exception(*error);
  return std::get<EncodedPiece>(std::move(result.piece));
}

void DocumentEncoder::work() {
  while (auto task = claim()) {
    Result result;
    result.held = task->held;
    try {
      result.piece = encode(*task);
    } catch (...) {
      result.piece = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      finished_.emplace(task->index, std::move(result));
    }
    done_.notify_one();
  }
}

bool DocumentEncoder::has_room() const {
  if (claimed_ == taken_) return true;
  const CorpusFile& file = files_[file_];
  const std::uint64_t bytes = is_one_piece(file) ? file.bytes : block_bytes;
  return held_ <= options_.bytes_in_flight && bytes <= options_.bytes_in_flight - held_;
}

std::optional<DocumentEncoder::Task> DocumentEncoder::claim() {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [this] { return stopped_ || (!reading_ && (file_ == files_.size() || has_room())); });
  if (stopped_ || file_ == files_.size()) return std::nullopt;
  Task task;
  if (is_one_piece(files_[file_])) {
    task.file = file_++;
    task.held = task.bytes = files_[task.file].bytes;
  } else {
    task = read_next(lock);
  }
  held_ += task.held;
  task.index = claimed_++;
  return task;
}

DocumentEncoder::Task DocumentEncoder::read_next(std::unique_lock<std::mutex>& lock) {
  Task task{.file = file_};
  const CorpusFile& file = files_[file_];
  reading_ = true;
  lock.unlock();
  try {
    if (file.format == CorpusFormat::records) {
      read_lines(file, task);
    } else {
      task.text = read_corpus_file(file.path, longest_text, options_.line_ends);
      if (const auto* document = std::get_if<CorpusDocument>(&*task.text)) task.held = document->text.size();
    }
  } catch (...) {
    task.error = std::current_exception();
  }
  lock.lock();
  reading_ = false;
  task.ends_file = !task.lines;
  if (task.ends_file) {
    task.bytes = file.bytes - std::min(file.bytes, file_bytes_);
    file_bytes_ = 0;
    lines_.reset();
    ++file_;
  }
  room_.notify_all();
  return task;
}

void DocumentEncoder::read_lines(const CorpusFile& file, Task& task) {
  // A record may name a long document: one at a time then.
  const bool pairs = options_.records.kind == RecordKind::summary;
  if (!lines_) lines_.emplace(file.path, file.begin, file.end, pairs ? 1 : block_bytes, longest_text);
  task.lines = lines_->next();
  if (!task.lines) return;
  const bool compressed = compression_of(file.path) != Compression::none;
  task.held = task.lines->text.size();
  task.bytes = compressed ? lines_->consumed() - file_bytes_ : task.held;
  if (pairs) task.held += referenced_bytes(task.lines->text, file.path.parent_path());
  file_bytes_ += task.bytes;
}

EncodedPiece DocumentEncoder::encode(Task& task) const {
  if (task.error) std::rethrow_exception(task.error);
  const CorpusFile& file = files_[task.file];
  EncodedPiece piece{.file = task.file, .bytes = task.bytes, .ends_file = task.ends_file};
  if (file.format == CorpusFormat::text) {
    auto text = task.text ? std::move(*task.text) : read_corpus_file(file.path, longest_text, options_.line_ends);
    piece.documents.push_back(encode_file(file, std::move(text)));
  } else if (task.lines) {
    encode_lines(file, *task.lines, piece.documents);
  }
  return piece;
}

EncodingResult DocumentEncoder::encode_file(const CorpusFile& file,
                                            std::variant<CorpusDocument, CorpusProblem> text) const {
  if (auto* problem = std::get_if<CorpusProblem>(&text)) return std::move(*problem);
  return encode_document(file.name, file.origin, std::get<CorpusDocument>(text));
}

void DocumentEncoder::encode_lines(const CorpusFile& file, const LineBlock& lines,
                                   std::vector<EncodingResult>& results) const {
  std::uint64_t offset = lines.offset;
  const std::filesystem::path folder = file.path.parent_path();
  for (const std::string_view line : lines_of(lines.text)) {
    const std::uint64_t begin = offset;
    offset += line.size();
    if (is_blank(line)) continue;
    Record record;
    try {
      record = parse_record(line, fmt::format("{}: the record at byte {}", file.path.string(), begin), options_.records,
                            folder);
    } catch (const Error&) {
      // Lines are counted only where a message needs it. The same error again, with its line.
      parse_record(line, fmt::format("{}: line {}", file.path.string(), line_at(file.path, begin)), options_.records,
                   folder);
      throw;
    }
    const std::string name = record.id.empty() ? fmt::format("{}@{}", file.name, begin) : std::move(record.id);
    if (options_.split_by && options_.split_by->split_of(name) != options_.split) continue;
    if (auto* problem = std::get_if<CorpusProblem>(&record.document)) {
      results.emplace_back(std::move(*problem));
    } else {
      results.emplace_back(encode_document(name, std::move(record.origin), std::get<CorpusDocument>(record.document)));
    }
  }
}

EncodedDocument DocumentEncoder::encode_document(std::string name, DocumentOrigin origin,
                                                 const CorpusDocument& document) const {
  EncodedDocument encoded{
      std::move(name), std::move(origin), {}, document.words, static_cast<std::int64_t>(document.text.size())};
  if (!only_check_) encoded.text = encode_text(document, *tokenizer_, round_trip_);
  return encoded;
}

}  // namespace palimpsest
