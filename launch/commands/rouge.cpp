// palimpsest rouge: what texts have in common with reference texts.
#include <filesystem>
#include <memory>
#include <string>

#include <unistd.h>

#include <fmt/format.h>

#include "core/error.h"
#include "launch/commands/command.h"
#include "launch/commands/measuring.h"
#include "launch/measures/rouge_report.h"
#include "launch/measures/text_pairs.h"
#include "launch/output/exit_codes.h"
#include "launch/training/run_directory.h"
#include "launch/training/run_log.h"

namespace palimpsest {

namespace {

struct Options {
  std::string references, candidates;
  std::string reference_field = "summary", candidate_field = "text";
  bool whole_files = false, stem = false;
  BootstrapOptions bootstrap;
  std::string json;
};

int score_texts(const Options& options) {
  check(options.bootstrap);
  const auto pairs =
      pair_texts(options.references, read_texts(options.references, options.reference_field, options.whole_files),
                 options.candidates, read_texts(options.candidates, options.candidate_field, options.whole_files));
  const RougeResult result = measure_rouge(pairs, options.stem, options.bootstrap);
  fmt::print("{}", format_rouge(result));
  if (options.json.empty()) return ExitCode::ok;
  write_result(options.json, rouge_json(result));
  RunLog(STDERR_FILENO, on_terminal(STDERR_FILENO)).note(fmt::format("Result: {}", options.json));
  return ExitCode::ok;
}

}  // namespace

Command add_rouge_command(CLI::App& program) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand(
      "rouge", "Measure texts against reference texts: ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum, with intervals");
  constexpr const char* what =
      "a folder of *.txt files, each a text; .jsonl, an object a line; or a file with a text a line";
  command->add_option("REFERENCES", options->references, fmt::format("Texts that people have written: {}", what))
      ->required();
  command->add_option("CANDIDATES", options->candidates, "Texts to be measured, in any of these forms")->required();
  command
      ->add_option("--reference-field", options->reference_field,
                   "Where references are .jsonl: the key of the text, or of a list of texts, of which the best counts "
                   "(default: summary)")
      ->type_name("KEY");
  command
      ->add_option("--candidate-field", options->candidate_field,
                   "Where candidates are .jsonl: the key of the text (default: text, as generate --batch writes it)")
      ->type_name("KEY");
  command->add_flag("--whole-files", options->whole_files,
                    "A text file is one text, whose lines are its sentences, instead of a text a line");
  command->add_flag("--stem", options->stem, "Take the endings off words first (Porter's stemmer, for English)");
  add_bootstrap_options(*command, options->bootstrap);
  command->add_option("--json", options->json, "Where the result goes as JSON, with every text (default: nowhere)")
      ->type_name("FILE");
  command->footer(
      "Texts belong together that have the same name or id, where all have one; else those of the same number.\n"
      "ROUGE-Lsum takes lines as sentences.\n\n" +
      help_footer("palimpsest rouge summaries/ written/ --stem\n"
                  "palimpsest rouge pairs.jsonl results.jsonl --reference-field summary --json rouge.json\n"
                  "palimpsest rouge references.txt candidates.txt"));
  return {command, [options](Communicator& communicator) {
            require_one_process("rouge", communicator);
            return score_texts(*options);
          }};
}

}  // namespace palimpsest
