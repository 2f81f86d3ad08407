// Typed exceptions. Every failure a user can cause carries one of these, with a message that names
// the operation, file or key, what was found and what was expected. Only launch/main.cpp turns them
// into exit codes.
#pragma once

#include <stdexcept>
#include <string>

namespace palimpsest {

/// Base of every error that Palimpsest raises on purpose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  /// Adds " (CONTEXT)" to the message; the type stays, when it is thrown on by a bare `throw`.
  void add_context(const std::string& context) {
    std::runtime_error::operator=(std::runtime_error(what() + (" (" + context + ")")));
  }
};

/// Operands that an operation cannot combine: wrong shapes, types or bounds.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A configuration, command line or environment that asks for something impossible.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A file or directory that cannot be read, written or understood; the message starts with its path.
class FileError : public Error {
 public:
  using Error::Error;
};

/// A file or directory that cannot be written; what was there before is intact.
class WriteError : public FileError {
 public:
  using FileError::FileError;
};

/// Input data that is readable but unusable (an empty split, a token outside the vocabulary).
class DataError : public Error {
 public:
  using Error::Error;
};

/// A loss, gradient or parameter that is no longer finite.
class NumericalError : public Error {
 public:
  using Error::Error;
};

/// A collective operation that failed or was given different arguments on different ranks.
class CommunicationError : public Error {
 public:
  using Error::Error;
};

}  // namespace palimpsest
