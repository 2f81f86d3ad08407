// What the program's exit codes mean: the one place that maps typed exceptions to them.
#pragma once

#include <exception>
#include <string>

namespace palimpsest {

struct ExitCode {
  static constexpr int ok = 0;
  static constexpr int internal_error = 1;
  static constexpr int configuration = 2;  // command line or configuration
  static constexpr int input = 3;          // a file or data that cannot be read or used
  static constexpr int output = 4;         // a file or directory that cannot be written
  static constexpr int numerical = 5;      // a loss, gradient or parameter that is not finite
  static constexpr int communication = 6;  // MPI, or another rank
  static constexpr int watchdog = 7;       // a rank gave no sign of life, so the job was ended
  static constexpr int time_limit = 8;     // train.time_limit stopped the training after a checkpoint
  static constexpr int signal_base = 128;  // + signal number: stopped by it in order (training, evaluation)
};

/// The exit code of an error.
int exit_code_of(const std::exception& error);

/// The codes with their meanings, a line each, for --help.
std::string describe_exit_codes();

}  // namespace palimpsest
