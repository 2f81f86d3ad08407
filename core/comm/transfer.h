// The handle of an operation between ranks that goes on while its caller computes.
#pragma once

#include <memory>
#include <utility>

namespace palimpsest {

/// What was passed to the operation stays untouched, and alive, until `wait` has returned or `done` has
/// said true. Destroying the handle waits. Every rank must wait for its transfers sooner or later, in any order.
class Transfer {
 public:
  /// What a Communicator implements.
  class Operation {
   public:
    virtual ~Operation() = default;
    virtual bool done() = 0;
    virtual void wait() = 0;
  };

  /// Nothing under way: done.
  Transfer() = default;
  explicit Transfer(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}
  Transfer(Transfer&&) = default;
  Transfer& operator=(Transfer&& other) noexcept {
    if (this != &other) {
      settle();
      operation_ = std::move(other.operation_);
    }
    return *this;
  }
  ~Transfer() { settle(); }

  /// Whether it has finished. Throws CommunicationError, naming rank and operation, when it has failed.
  bool done() {
    if (operation_ && operation_->done()) operation_.reset();
    return !operation_;
  }
  /// Returns when it has finished; throws like `done`.
  void wait() {
    if (const auto operation = std::exchange(operation_, nullptr)) operation->wait();
  }

 private:
  /// A failure that nobody asks about any more: whoever gave the handle up is failing already.
  void settle() noexcept {
    try {
      wait();
    } catch (...) {
    }
  }

  std::unique_ptr<Operation> operation_;
};

}  // namespace palimpsest
