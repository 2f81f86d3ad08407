#include "data/tokens/document_encoder.h"

#include <utility>

#include "core/quiet_thread.h"

namespace palimpsest {

DocumentEncoder::DocumentEncoder(std::span<const CorpusFile> files, const Tokenizer& tokenizer, int threads,
                                 std::uint64_t bytes_in_flight, LineEnds line_ends)
    : files_(files),
      tokenizer_(&tokenizer),
      round_trip_(tokenizer),
      bytes_in_flight_(bytes_in_flight),
      line_ends_(line_ends) {
  try {
    for (int i = 0; i < threads; ++i) threads_.push_back(quiet_thread([this] { work(); }));
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

std::variant<EncodedDocument, CorpusProblem> DocumentEncoder::next() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return finished_.contains(taken_); });
  Result result = std::move(finished_.extract(taken_).mapped());
  held_ -= files_[taken_].bytes;
  ++taken_;
  lock.unlock();
  room_.notify_all();
  if (const auto* error = std::get_if<std::exception_ptr>(&result)) std::rethrow_exception(*error);
  if (auto* problem = std::get_if<CorpusProblem>(&result)) return std::move(*problem);
  return std::get<EncodedDocument>(std::move(result));
}

void DocumentEncoder::work() {
  while (const auto index = claim()) {
    Result result;
    try {
      result = encode(files_[*index]);
    } catch (...) {
      result = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      finished_.emplace(*index, std::move(result));
    }
    done_.notify_one();
  }
}

std::optional<std::size_t> DocumentEncoder::claim() {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [this] {
    if (stopped_ || claimed_ == files_.size() || claimed_ == taken_) return true;
    return held_ <= bytes_in_flight_ && files_[claimed_].bytes <= bytes_in_flight_ - held_;
  });
  if (stopped_ || claimed_ == files_.size()) return std::nullopt;
  held_ += files_[claimed_].bytes;
  return claimed_++;
}

DocumentEncoder::Result DocumentEncoder::encode(const CorpusFile& file) const {
  auto read = read_corpus_file(file.path, longest_text, line_ends_);
  if (auto* problem = std::get_if<CorpusProblem>(&read)) return std::move(*problem);
  const auto& document = std::get<CorpusDocument>(read);
  EncodedDocument encoded;
  encoded.words = document.words;
  encoded.bytes = static_cast<std::int64_t>(document.text.size());
  if (only_check_) return encoded;
  encoded.tokens = tokenizer_->encode(document.text);
  encoded.difference = round_trip_.difference(document.text, encoded.tokens);
  return encoded;
}

}  // namespace palimpsest
