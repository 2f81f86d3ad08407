#include "data/text/compressed_input.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include "core/error.h"

namespace palimpsest {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t read_at_once = std::size_t{1} << 16;

/// What both have in common: a buffer of compressed bytes, and where it lies in the file.
class CompressedInput : public ByteInput {
 public:
  CompressedInput(std::unique_ptr<ByteInput> compressed, const fs::path& path)
      : compressed_(std::move(compressed)), path_(path), buffer_(read_at_once) {}

  std::size_t read(std::span<char> target) final {
    std::size_t done = 0;
    while (done < target.size()) {
      if (at_ == size_ && !ended_) {
        before_ += size_;
        at_ = 0;
        size_ = compressed_->read(buffer_);
        ended_ = size_ == 0;
      }
      const std::size_t taken = at_;
      const std::size_t made = decode(target.subspan(done), std::span(buffer_).subspan(at_, size_ - at_));
      done += made;
      if (made > 0 || at_ > taken) continue;
      if (ended_ && is_whole()) break;
      if (ended_) fail("the file ends in the midst of compressed data");
      fail("compressed data that makes no progress");
    }
    return done;
  }
  std::uint64_t consumed() const final { return before_ + at_; }

 protected:
  /// Takes some of the input (`take`) and makes some of the target of it: how much.
  virtual std::size_t decode(std::span<char> target, std::span<const char> input) = 0;
  /// Whether everything that was begun is complete.
  virtual bool is_whole() const = 0;

  void take(std::size_t bytes) { at_ += bytes; }
  bool ended() const { return ended_; }
  [[noreturn]] void fail(std::string_view what) const {
    throw FileError(fmt::format("{}: byte {}: {}", path_.string(), consumed(), what));
  }

 private:
  std::unique_ptr<ByteInput> compressed_;
  fs::path path_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, size_ = 0;  // in the buffer
  std::uint64_t before_ = 0;       // bytes of the file before it
  bool ended_ = false;
};

/// RFC 1952: members follow each other, each with the CRC of what it becomes.
class GzipInput final : public CompressedInput {
 public:
  GzipInput(std::unique_ptr<ByteInput> compressed, const fs::path& path)
      : CompressedInput(std::move(compressed), path) {
    constexpr int gzip_only = 16;
    if (inflateInit2(&stream_, gzip_only + MAX_WBITS) != Z_OK) fail("no memory to decompress");
  }
  ~GzipInput() override { inflateEnd(&stream_); }
  GzipInput(const GzipInput&) = delete;
  GzipInput& operator=(const GzipInput&) = delete;

 private:
  std::size_t decode(std::span<char> target, std::span<const char> input) override {
    if (input.empty()) return 0;
    if (between_) {
      // Tapes pad with zeros; gzip passes over them, too.
      if (consumed() > 0 && input.front() == '\0') {
        const auto end = std::ranges::find_if(input, [](char c) { return c != '\0'; });
        if (end != input.end()) fail("no sound gzip data: zeros, and then something else");
        take(input.size());
        return 0;
      }
      inflateReset(&stream_);
      between_ = false;
    }
    constexpr std::size_t most = 1u << 30;  // zlib counts in 32 bits
    // zlib writes nothing there; its structure knows no const.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = static_cast<uInt>(input.size());
    stream_.next_out = reinterpret_cast<Bytef*>(target.data());
    const auto room = static_cast<uInt>(std::min(target.size(), most));
    stream_.avail_out = room;
    const int result = ::inflate(&stream_, Z_NO_FLUSH);
    take(input.size() - stream_.avail_in);
    if (result == Z_STREAM_END) {
      between_ = true;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail(fmt::format("no sound gzip data: {}", stream_.msg == nullptr ? "cannot be decompressed" : stream_.msg));
    }
    return room - stream_.avail_out;
  }
  bool is_whole() const override { return between_ && consumed() > 0; }

  z_stream stream_{};
  bool between_ = true;  // two members
};

/// RFC 8878: frames follow each other. Windows of more than 128 MiB are refused, as by zstd itself.
class ZstdInput final : public CompressedInput {
 public:
  ZstdInput(std::unique_ptr<ByteInput> compressed, const fs::path& path)
      : CompressedInput(std::move(compressed), path), context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {
    if (!context_) fail("no memory to decompress");
  }

 private:
  std::size_t decode(std::span<char> target, std::span<const char> input) override {
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer out{target.data(), target.size(), 0};
    if (input.empty() && whole_) return 0;
    const std::size_t result = ZSTD_decompressStream(context_.get(), &out, &in);
    take(in.pos);
    if (ZSTD_isError(result) != 0) fail(fmt::format("no sound zstd data: {}", ZSTD_getErrorName(result)));
    whole_ = result == 0;
    return out.pos;
  }
  bool is_whole() const override { return whole_ && consumed() > 0; }

  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context_;
  bool whole_ = true;
};

}  // namespace

Compression compression_of(const fs::path& path) {
  if (path.extension() == ".gz") return Compression::gzip;
  if (path.extension() == ".zst") return Compression::zstd;
  return Compression::none;
}

std::unique_ptr<ByteInput> decompress(std::unique_ptr<ByteInput> compressed, Compression compression,
                                      const fs::path& path) {
  if (compression == Compression::gzip) return std::make_unique<GzipInput>(std::move(compressed), path);
  return std::make_unique<ZstdInput>(std::move(compressed), path);
}

}  // namespace palimpsest
