// Runs that go on while they are reported.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace palimpsest {

/// Sizes and times of the files that a report reads; another text when one of them has changed.
std::string fingerprint(const std::vector<std::filesystem::path>& runs);

/// Whether each run has a whole line of metrics, or results of an evaluation, by now.
bool has_steps(const std::vector<std::filesystem::path>& runs);

/// Whether every run has ended in order: the heartbeat of its rank 0 (launch/ranks/heartbeat.h) says so, or there is
/// none. A run that was killed is not known to be over: somebody may resume it.
bool all_over(const std::vector<std::filesystem::path>& runs);

}  // namespace palimpsest
