// Lines from standard input: at a terminal with the keys of an editor and a history (libedit), elsewhere as they are.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace palimpsest {

class LineReader {
 public:
  /// Asked several times a second, and after every signal, whether to give up waiting.
  using GivesUp = std::function<bool()>;

  explicit LineReader(GivesUp gives_up);
  ~LineReader();

  /// Whether standard input and standard output are a terminal.
  bool is_terminal() const { return editor_ != nullptr; }
  /// The next line without its end; nothing at the end of input and where reading was given up. Only a terminal shows
  /// the prompt. Throws FileError when standard input cannot be read.
  std::optional<std::string> read(const std::string& prompt);

 private:
  class Editor;

  GivesUp gives_up_;
  std::unique_ptr<Editor> editor_;
  std::string rest_;  // read, and after the last line
};

}  // namespace palimpsest
