#include "launch/output/exit_codes.h"

#include "core/error.h"

namespace palimpsest {

int exit_code_of(const std::exception& error) {
  const auto is = [&]<class E>() { return dynamic_cast<const E*>(&error) != nullptr; };
  if (is.template operator()<ConfigError>()) return ExitCode::configuration;
  if (is.template operator()<WriteError>()) return ExitCode::output;
  if (is.template operator()<FileError>() || is.template operator()<DataError>()) return ExitCode::input;
  if (is.template operator()<NumericalError>()) return ExitCode::numerical;
  if (is.template operator()<CommunicationError>()) return ExitCode::communication;
  return ExitCode::internal_error;
}

std::string describe_exit_codes() {
  return R"(Exit codes:
  0    done
  1    internal error or out of memory
  2    command line or configuration
  3    an input file or its data cannot be read or used
  4    a file or directory cannot be written
  5    a loss or gradient is not finite
  6    communication between ranks failed
  7    train: a rank gave no sign of life (start again: it resumes)
  8    train: stopped by train.time_limit, checkpoint saved (start again: it resumes)
  130  stopped by SIGINT; train: checkpoint saved, eval: complete documents measured,
       generate: state saved
  138  stopped by SIGUSR1, likewise
  143  stopped by SIGTERM, likewise)";
}

}  // namespace palimpsest
