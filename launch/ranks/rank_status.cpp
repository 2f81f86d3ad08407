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
  const auto with_context = [&](const std::exception& error) { return fmt::format("{} ({})", error.what(), context); };
  try {
    throw;
  } catch (const ShapeError& error) {
    throw ShapeError(with_context(error));
  } catch (const ConfigError& error) {
    throw ConfigError(with_context(error));
  } catch (const WriteError& error) {
    throw WriteError(with_context(error));
  } catch (const FileError& error) {
    throw FileError(with_context(error));
  } catch (const DataError& error) {
    throw DataError(with_context(error));
  } catch (const NumericalError& error) {
    throw NumericalError(with_context(error));
  } catch (const CommunicationError& error) {
    throw CommunicationError(with_context(error));
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("out of memory ({})", context));
  } catch (const std::exception& error) {
    throw Error(with_context(error));
  }
}

}  // namespace palimpsest
