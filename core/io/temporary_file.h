// Temporary files beside their destination, named after host and process: ".tmp-train.h5-node7-4711". Two writers of
// one file do not meet, and who writes next can tell what a killed process left behind.
#pragma once

#include <filesystem>

namespace palimpsest {

/// The name under which this process writes what will be `destination`.
std::filesystem::path temporary_file_for(const std::filesystem::path& destination);

/// Removes the temporary files in `folder` of processes of this host that are no more. Those of live processes and of
/// other hosts stay. Errors are ignored: this only tidies up.
void remove_abandoned_files(const std::filesystem::path& folder);

}  // namespace palimpsest
