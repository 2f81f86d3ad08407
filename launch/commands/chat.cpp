// palimpsest chat: reads something once and is then asked about it, many times.
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "configs/suggestion.h"
#include "core/error.h"
#include "core/white_space.h"
#include "launch/commands/command.h"
#include "launch/commands/generation.h"
#include "launch/commands/measuring.h"
#include "launch/inference/conversation.h"
#include "launch/inference/generator_file.h"
#include "launch/output/exit_codes.h"
#include "launch/output/line_reader.h"
#include "launch/output/standard_output.h"
#include "launch/training/stop_request.h"

namespace palimpsest {

namespace {

struct Options {
  GenerationCommand common;
  std::string read;    // a file; empty: none
  std::string before;  // and after every question
  std::string after;
  bool follow = false;
};

constexpr std::string_view help =
    "  /continue   the answer goes on where it stopped; so does a reading that was stopped\n"
    "  /undo       takes the last question and its answer back\n"
    "  /reset      back to what was read, without any question\n"
    "  /follow     from now on a question follows the last answer\n"
    "  /afresh     from now on every question is asked of what was read, as at the start\n"
    "  /save FILE  writes the state that the next question is asked of, for --state\n"
    "  /help       this list\n"
    "  /quit       leaves, as Ctrl-D and Ctrl-C do; during an answer Ctrl-C stops the answer\n"
    "A line with two slashes in front is a question that begins with one.\n";

class Chat {
 public:
  Chat(const Options& options, Generator start, RunLog& log)
      : options_(options), log_(log), conversation_(std::move(start)), reader_([this] { return stop_.signal() != 0; }) {
    conversation_.follows = options.follow;
  }

  /// An exit code.
  int run() {
    bool leaves = false;
    read();
    if (reader_.is_terminal() && !ended()) log_.note("Ask something; /help lists what else can be done.");
    while (!leaves && !ended()) {
      const std::optional<std::string> line = reader_.read("> ");
      if (!line) break;
      try {
        leaves = !take(*line);
      } catch (const Error& error) {
        if (!reader_.is_terminal()) throw;  // nobody is there to try something else
        log_.end_progress();
        log_.warn(error.what());
      }
      if (stop_.signal() == SIGINT) stop_.forget();
    }
    return ended() ? ExitCode::signal_base + stop_.signal() : ExitCode::ok;
  }

 private:
  /// By a signal other than that of Ctrl-C.
  bool ended() const { return stop_.signal() != 0 && stop_.signal() != SIGINT; }

  /// Reads what is to be read before any question. False when it was stopped.
  bool read() {
    if (conversation_.start().unread() == 0) return true;
    bool whole = true;
    {
      ReadingProgress progress(conversation_.start(), log_);
      whole = conversation_.read([&] {
        progress.show();
        return stop_.signal() == 0;
      });
      log_.end_progress();
      log_.note(fmt::format("{} tokens read at {}", progress.done(), format_rate(progress.done(), progress.seconds())));
    }
    if (!whole) {
      log_.note(fmt::format("Stopped; {} tokens are still to be read: /continue or a question reads on",
                            conversation_.start().unread()));
    }
    if (stop_.signal() == SIGINT) stop_.forget();
    return whole;
  }

  /// A question or a command. False when it leaves.
  bool take(const std::string& line) {
    if (is_blank(line)) return true;
    if (!line.starts_with('/') || line.starts_with("//")) {
      if (read()) ask(line.substr(line.starts_with('/') ? 1 : 0));
      return true;
    }
    const std::size_t end = std::min(line.find(' '), line.size());
    const std::string command = line.substr(0, end), rest = line.substr(std::min(end + 1, line.size()));
    if (command == "/quit") return false;
    obey(command, rest);
    return true;
  }

  void ask(const std::string& question) {
    finish(conversation_.ask(options_.before + question + options_.after, options_.common.generation, write_to_stdout,
                             [this] { return stop_.signal() == 0; }));
  }

  void finish(const GenerationResult& result) {
    write_to_stdout("\n");
    if (!reader_.is_terminal()) return;
    if (result.finish == Finish::length) log_.note("(/continue goes on)");
    if (result.finish == Finish::interrupted) log_.note("(stopped; /continue goes on)");
    if (result.finish == Finish::end && result.tokens == 0) log_.note("(the model has nothing more to say)");
  }

  void obey(const std::string& command, const std::string& rest) {
    if (command == "/help") {
      write_to_stdout(help);
    } else if (command == "/continue") {
      const bool reads = conversation_.start().unread() > 0;
      if (read() && !reads) {
        finish(
            conversation_.go_on(options_.common.generation, write_to_stdout, [this] { return stop_.signal() == 0; }));
      }
    } else if (command == "/undo") {
      if (!conversation_.undo()) {
        log_.note(
            fmt::format("There is nothing to take back (the last {} questions can be)", Conversation::most_undone));
      }
    } else if (command == "/reset") {
      conversation_.reset();
    } else if (command == "/follow" || command == "/afresh") {
      conversation_.follows = command == "/follow";
    } else if (command == "/save") {
      if (rest.empty()) throw ConfigError("/save needs the name of a file");
      save_generator(rest, conversation_.asked());
      log_.note(fmt::format("State after {} tokens: {}",
                            conversation_.asked().tokens() + conversation_.asked().unread(), rest));
    } else {
      constexpr std::array<std::string_view, 8> known = {"/continue", "/undo", "/reset", "/follow",
                                                         "/afresh",   "/save", "/help",  "/quit"};
      const std::string_view nearest = nearest_name(command, known);
      throw ConfigError(fmt::format("there is no {}{}; /help lists what there is", command,
                                    nearest.empty() ? "" : fmt::format(", did you mean {}?", nearest)));
    }
  }

  const Options& options_;
  RunLog& log_;
  Conversation conversation_;
  StopRequest stop_;
  LineReader reader_;
};

int chat(const Options& options, Communicator& communicator) {
  RunLog log(STDERR_FILENO, on_terminal(STDERR_FILENO));
  if (options.read == "-") throw ConfigError("--read is -: standard input is for the questions; name a file");
  MemoryPool pool;
  const SavedModel saved = open_for_generation(options.common, communicator, log, pool);
  MemoryPool state_pool;
  Generator generator = make_generator(options.common, saved, state_pool);
  if (!options.read.empty()) generator.append(read_text_input(options.read));
  return Chat(options, std::move(generator), log).run();
}

}  // namespace

Command add_chat_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("chat", "Read a text once, then ask a trained model about it many times");
  command->add_option("--read", options->read, "A text to read before the first question, 1 GiB at most")
      ->type_name("FILE");
  add_generation_options(*command, options->common);
  command->add_option("--before", options->before, "Text in front of every question (default: none)")
      ->type_name("TEXT");
  command->add_option("--after", options->after, "Text behind every question, before the answer (default: none)")
      ->type_name("TEXT");
  command->add_flag("--follow", options->follow, "A question follows the last answer, instead of what was read");
  command->footer(
      "A line is a question: the model continues it. Every question is asked of what was read, unless --follow.\n"
      "Lines that begin with a slash are commands:\n" +
      std::string(help) +
      "Without a terminal, lines are read from standard input and answers go to standard output.\n\n" +
      help_footer("palimpsest chat runs/quickstart --read book.txt\n"
                  "palimpsest chat runs/quickstart --state book.state --temperature 0 --stop . --follow\n"
                  "echo \"Call me\" | palimpsest chat runs/quickstart --max-tokens 20"));
  return {command, [options](Communicator& communicator) {
            require_one_process("chat", communicator);
            return chat(*options, communicator);
          }};
}

}  // namespace palimpsest
