// Checkpoints of version 2 had an entry for every lane's memory, and one list of fields for the state of a run.
#pragma once

#include "launch/checkpoint/checkpoint_manifest.h"

namespace palimpsest {

/// Names everything as version 3 does; the files stay as they are. "memory/lane-00012/layers.3/matrix" becomes lane 12
/// of "state/layers.3.matrix". Throws FileError or nlohmann::json::exception on what version 2 did not write.
void upgrade_from_version_2(CheckpointManifest& manifest);

}  // namespace palimpsest
