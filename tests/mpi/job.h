// The job that the tests of this folder run in.
#pragma once

#include "core/comm/communicator.h"

namespace palimpsest {

/// The ranks that mpirun started; all of them run every test, in the same order.
Communicator& job();

}  // namespace palimpsest
