#include "launch/output/line_reader.h"

#include <array>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <utility>

#include <fmt/format.h>
#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include "core/error.h"

namespace palimpsest {

namespace {

constexpr int milliseconds_between_questions = 200;
constexpr int remembered_lines = 1000;

/// What standard input has, as read(2) does; -1 where reading was given up.
ssize_t read_input(char* target, std::size_t bytes, const LineReader::GivesUp& gives_up) {
  while (true) {
    if (gives_up()) return -1;
    pollfd input{STDIN_FILENO, POLLIN, 0};
    const int ready = poll(&input, 1, milliseconds_between_questions);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t count = ready < 0 ? -1 : ::read(STDIN_FILENO, target, bytes);
    if (count >= 0) return count;
    if (errno == EINTR || errno == EAGAIN) continue;
    throw FileError(fmt::format("standard input: cannot be read: {}", std::strerror(errno)));
  }
}

}  // namespace

/// libedit, which asks for characters one by one and is told where to find the rest by a pointer.
class LineReader::Editor {
 public:
  explicit Editor(const GivesUp& gives_up) : gives_up_(gives_up) {
    // libedit takes characters as the locale has them; without one, as this program writes them.
    std::setlocale(LC_CTYPE, "");
    if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
    editor_ = el_init("palimpsest", stdin, stdout, stderr);
    history_ = history_init();
    if (editor_ == nullptr || history_ == nullptr) throw std::bad_alloc();
    HistEvent event;
    history(history_, &event, H_SETSIZE, remembered_lines);
    history(history_, &event, H_SETUNIQUE, 1);
    el_set(editor_, EL_CLIENTDATA, this);
    el_set(
        editor_, EL_PROMPT, +[](EditLine* editor) { return of(editor).prompt_.data(); });
    el_set(
        editor_, EL_GETCFN, +[](EditLine* editor, wchar_t* c) { return of(editor).next_character(*c); });
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_HIST, history, history_);
    el_source(editor_, nullptr);  // the user's own keys, from ~/.editrc
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;
  ~Editor() {
    history_end(history_);
    el_end(editor_);
  }

  std::optional<std::string> read(const std::string& prompt) {
    prompt_ = prompt;
    failure_ = nullptr;
    el_resize(editor_);
    // libedit would show the prompt first, and what is typed in between would be the terminal's own to edit.
    el_set(editor_, EL_PREP_TERM, 1);
    int count = 0;
    const char* typed = el_gets(editor_, &count);
    if (failure_) std::rethrow_exception(failure_);
    if (typed == nullptr || count <= 0) {
      std::fputc('\n', stdout);  // after ^C or ^D
      std::fflush(stdout);
      return std::nullopt;
    }
    std::string line(typed, static_cast<std::size_t>(count));
    if (line.ends_with('\n')) line.pop_back();
    HistEvent event;
    if (!line.empty()) history(history_, &event, H_ENTER, line.c_str());
    return line;
  }

 private:
  static Editor& of(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return *static_cast<Editor*>(self);
  }

  /// 1 with a character, 0 at the end of input, -1 where reading was given up.
  int next_character(wchar_t& character) {
    std::mbstate_t state{};
    char byte = 0;
    while (true) {
      ssize_t count = -1;
      try {  // no exception passes through the library
        count = read_input(&byte, 1, gives_up_);
      } catch (const Error&) {
        failure_ = std::current_exception();
      }
      if (count <= 0) return static_cast<int>(count);
      const std::size_t used = std::mbrtowc(&character, &byte, 1, &state);
      if (used == static_cast<std::size_t>(-2)) continue;
      if (used != static_cast<std::size_t>(-1)) return 1;
      state = {};  // no character: as if it had not been typed
    }
  }

  const GivesUp& gives_up_;
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
  std::string prompt_;
  std::exception_ptr failure_;
};

LineReader::LineReader(GivesUp gives_up) : gives_up_(std::move(gives_up)) {
  if (isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) editor_ = std::make_unique<Editor>(gives_up_);
}

LineReader::~LineReader() = default;

std::optional<std::string> LineReader::read(const std::string& prompt) {
  if (editor_) return editor_->read(prompt);
  std::array<char, 4096> buffer;
  while (true) {
    if (const std::size_t end = rest_.find('\n'); end != std::string::npos) {
      std::string line = rest_.substr(0, end);
      rest_.erase(0, end + 1);
      return line;
    }
    const ssize_t count = read_input(buffer.data(), buffer.size(), gives_up_);
    if (count < 0 || (count == 0 && rest_.empty())) return std::nullopt;
    if (count == 0) return std::exchange(rest_, {});
    rest_.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

}  // namespace palimpsest
