#include "launch/ranks/rank_status.h"

#include <new>

#include <fmt/format.h>

#include "core/error.h"

namespace palimpsest {

const char* name_of(Phase phase) {
  switch (phase) {
    case Phase::starting: return "starting";
    case Phase::loading: return "loading a checkpoint";
    case Phase::data: return "reading data";
    case Phase::forward: return "forward and backward";
    case Phase::communication: return "communication";
    case Phase::optimizer: return "optimizer";
    case Phase::saving: return "saving a checkpoint";
    case Phase::evaluating: return "evaluation";
    case Phase::finished: return "finished";
  }
  return "unknown";
}

std::string RankStatus::describe() const { return fmt::format("step {}, {}", step(), name_of(phase())); }

void rethrow_with_context(const std::string& context) {
  try {
    throw;
  } catch (Error& error) {
    error.add_context(context);
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("out of memory ({})", context));
  } catch (const std::exception& error) {
    throw Error(fmt::format("{} ({})", error.what(), context));
  }
}

}  // namespace palimpsest
