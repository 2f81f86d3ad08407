#include "core/io/tensor_file.h"

#include <algorithm>
#include <array>
#include <semaphore>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/io/descriptor.h"
#include "core/io/hdf5_file.h"
#include "core/quiet_thread.h"

namespace palimpsest {

namespace {

constexpr std::uint64_t piece_bytes = std::uint64_t{1} << 18;        // stays in the cache between copy and hash
constexpr std::uint64_t write_back_bytes = std::uint64_t{16} << 20;  // brought to disk while the rest is written
constexpr std::uint64_t read_ahead_bytes = std::uint64_t{8} << 20;   // the disk works on while what came is copied
constexpr std::size_t parts_in_flight = 8;                           // read, and not yet hashed

std::string hash_of(std::span<const std::byte> bytes) {
  FileHash hash;
  hash.update(bytes);
  return hash.digest();
}

/// The file without its elements: afterwards their places are known.
std::vector<StoredSlice> write_structure(const std::filesystem::path& path, const StateDictionary& entries) {
  std::vector<StoredSlice> slices;
  Hdf5File file = Hdf5File::create(path);
  for (const StateDictionary::Entry& entry : entries) {
    StoredSlice slice = {entry.name,  entry.shape, entry.tensor.data_type(),   entry.begin,
                         entry.end(), 0,           hash_of(entry.tensor.raw())};
    slice.offset = file.reserve(entry.name, entry.tensor.shape(), entry.tensor.data_type());
    file.write_attribute("xxh128", slice.hash, entry.name);
    if (!entry.whole()) {
      file.write_attribute("begin", entry.begin, entry.name);
      file.write_attribute("shape", entry.shape.to_string(), entry.name);
    }
    slices.push_back(std::move(slice));
  }
  file.close();
  return slices;
}

/// Calls `visit(offset, bytes, index)` for consecutive parts of [0, size): those inside the index-th of
/// `places`, which are sorted and do not overlap, and those outside all of them (index -1).
template <class Places, class Visit>
void for_each_part(std::uint64_t size, const Places& places, const Visit& visit) {
  std::uint64_t position = 0;
  for (std::size_t i = 0; i <= places.size(); ++i) {
    const std::uint64_t begin = i < places.size() ? places[i].first : size;
    const std::uint64_t end = i < places.size() ? begin + places[i].second : size;
    while (position < end) {
      const bool inside = position >= begin;
      const std::uint64_t bytes = std::min(piece_bytes, (inside ? end : begin) - position);
      visit(position, bytes, inside ? static_cast<int>(i) : -1);
      position += bytes;
    }
  }
}

/// Hashes in a thread of its own what another one reads, a few parts behind it, while they are in the cache.
class HashingThread {
 public:
  explicit HashingThread(FileHash& hash)
      : thread_(quiet_thread([this, &hash] {
          for (std::size_t i = 0; true; ++i) {
            added_.acquire();
            const std::span<const std::byte> part = parts_[i % parts_in_flight];
            if (part.data() == nullptr) return;
            hash.update(part);
            room_.release();
          }
        })) {}
  ~HashingThread() { finish(); }

  /// Waits until the part `parts_in_flight` before the next is no longer needed.
  void wait_for_room() {
    if (!has_room_) room_.acquire();
    has_room_ = true;
  }
  void add(std::span<const std::byte> part) {
    wait_for_room();
    has_room_ = false;
    parts_[added_parts_++ % parts_in_flight] = part;
    added_.release();
  }
  /// Waits until everything is hashed.
  void finish() {
    if (!thread_.joinable()) return;
    add({});
    thread_.join();
  }

 private:
  std::array<std::span<const std::byte>, parts_in_flight> parts_;
  std::size_t added_parts_ = 0;
  bool has_room_ = false;
  std::counting_semaphore<> room_{parts_in_flight};
  std::counting_semaphore<> added_{0};
  std::thread thread_;  // last: it uses the others
};

}  // namespace

TensorFile write_tensor_file(const std::filesystem::path& path, const StateDictionary& entries) {
  TensorFile result;
  result.slices = write_structure(path, entries);

  std::vector<std::size_t> order;  // of the elements in the file
  for (std::size_t i = 0; i < result.slices.size(); ++i) {
    if (result.slices[i].bytes() > 0) order.push_back(i);
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return result.slices[a].offset < result.slices[b].offset; });
  std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
  for (const std::size_t i : order) places.emplace_back(result.slices[i].offset, result.slices[i].bytes());

  Descriptor file = Descriptor::for_writing(path, O_RDWR);
  const std::uint64_t size = file.size();
  FileHash hash;
  std::vector<std::byte> structure(piece_bytes);
  std::uint64_t written_back = 0;
  for_each_part(size, places, [&](std::uint64_t offset, std::uint64_t bytes, int place) {
    if (place >= 0) {
      const auto index = static_cast<std::size_t>(place);
      const auto content = entries.entries()[order[index]].tensor.raw().subspan(offset - places[index].first, bytes);
      file.write(offset, content);
      hash.update(content);
    } else {
      const auto content = std::span(structure).first(bytes);
      file.read(offset, content);
      hash.update(content);
    }
    if (offset + bytes - written_back >= write_back_bytes) {
      file.start_writing_back(written_back, offset + bytes - written_back);
      written_back = offset + bytes;
    }
  });
  file.synchronize();
  file.close();
  result.fingerprint = {size, hash.digest()};
  return result;
}

void read_verified(const std::filesystem::path& path, const FileFingerprint& expected,
                   std::vector<Destination> destinations) {
  std::error_code error;
  // A link could lead out of the directory whose manifest vouches for the file.
  const auto type = std::filesystem::symlink_status(path, error).type();
  if (type != std::filesystem::file_type::regular) {
    throw FileError(fmt::format("{}: {}", path.string(),
                                type == std::filesystem::file_type::not_found ? "no such file" : "not a regular file"));
  }
  const Descriptor file = Descriptor::for_reading(path);
  if (const std::uint64_t size = file.size(); size != expected.bytes) {
    throw FileError(fmt::format("{}: damaged: {} bytes, the manifest says {}", path.string(), size, expected.bytes));
  }
  std::sort(destinations.begin(), destinations.end(),
            [](const Destination& a, const Destination& b) { return a.offset < b.offset; });
  std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
  std::uint64_t end = 0;
  for (const Destination& destination : destinations) {
    if (destination.offset < end || destination.target.size() > expected.bytes ||
        destination.offset > expected.bytes - destination.target.size()) {
      throw FileError(fmt::format("{}: {} bytes at {} are not one piece of this file", path.string(),
                                  destination.target.size(), destination.offset));
    }
    end = destination.offset + destination.target.size();
    places.emplace_back(destination.offset, destination.target.size());
  }

  FileHash hash;
  std::vector<std::byte> unwanted(parts_in_flight * piece_bytes);
  std::size_t count = 0;
  std::uint64_t asked_for = 0;
  HashingThread hashing(hash);
  for_each_part(expected.bytes, places, [&](std::uint64_t offset, std::uint64_t bytes, int place) {
    std::span<std::byte> target = std::span(unwanted).subspan(count++ % parts_in_flight * piece_bytes, bytes);
    if (place >= 0) {
      const auto index = static_cast<std::size_t>(place);
      target = destinations[index].target.subspan(offset - places[index].first, bytes);
    }
    if (asked_for < expected.bytes && asked_for <= offset + read_ahead_bytes) {
      file.start_reading(asked_for, read_ahead_bytes);
      asked_for += read_ahead_bytes;
    }
    hashing.wait_for_room();
    file.read(offset, target);
    hashing.add(target);
  });
  hashing.finish();
  if (const std::string found = hash.digest(); found != expected.hash) {
    throw FileError(
        fmt::format("{}: damaged: its hash is {}, the manifest says {}", path.string(), found, expected.hash));
  }
}

std::vector<std::string> damaged_slices(const std::filesystem::path& path, const std::vector<StoredSlice>& slices) {
  std::vector<std::string> names;
  const Descriptor file = Descriptor::for_reading(path);
  std::vector<std::byte> piece(piece_bytes);
  for (const StoredSlice& slice : slices) {
    FileHash hash;
    for (std::uint64_t done = 0; done < slice.bytes();) {
      const auto part = std::span(piece).first(std::min(piece_bytes, slice.bytes() - done));
      file.read(slice.offset + done, part);
      hash.update(part);
      done += part.size();
    }
    if (hash.digest() != slice.hash) names.push_back(slice.name);
  }
  return names;
}

}  // namespace palimpsest
