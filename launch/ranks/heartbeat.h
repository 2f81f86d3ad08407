// Signs of life: every rank keeps a small file in RUN/heartbeats that says, again and again, what it is
// doing. Files, since a rank that hangs takes everybody who waits for it in MPI along.
//
// heartbeats/rank-00003.json is one line of JSON, padded with blanks to heartbeat_bytes and rewritten in
// place (which needs no room on a disk that is full):
//   {"rank":3,"host":"node2","pid":4711,"beat":17,"alive":17,"progress":240,"step":40,"phase":"optimizer",
//    "waiting":false,"ending":false}
// Nothing in it is a time: readers on other hosts look whether it changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace palimpsest {

inline constexpr std::size_t heartbeat_bytes = 512;

struct Heartbeat {
  int rank = 0;
  std::string host;
  std::int64_t process = 0;   // its number on the host
  std::int64_t beat = 0;      // grows as long as the process runs
  std::int64_t alive = 0;     // grows as long as the rank makes progress, computes, waits for others or saves
  std::int64_t progress = 0;  // RankStatus::progress
  std::int64_t step = 0;
  std::string phase;     // RankStatus::phase, by name
  bool waiting = false;  // for other ranks
  bool ending = false;   // it has found out what is wrong, says so and ends the job

  bool operator==(const Heartbeat&) const = default;
  /// "rank 3 on node2 (process 4711)".
  std::string who() const;
  /// "step 40, optimizer".
  std::string where() const;
};

std::filesystem::path heartbeat_path(const std::filesystem::path& directory, int rank);

/// Makes the directory if it is not there. Throws WriteError.
void write_heartbeat(const std::filesystem::path& directory, const Heartbeat& heartbeat);
/// Nothing when there is none or it cannot be read or understood, as in the moment in which it is written.
std::optional<Heartbeat> read_heartbeat(const std::filesystem::path& directory, int rank);

/// What the ranks of a job that is over did last, in one line: those first that did not wait for others, and of these
/// those that are behind. Empty when all of them ended in order, or there are no heartbeats.
std::string last_signs_of_life(const std::filesystem::path& directory);

}  // namespace palimpsest
