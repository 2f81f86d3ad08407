#include "launch/commands/passkey_result.h"

#include <string>

#include <fmt/format.h>

#include "core/comm/agreement.h"
#include "core/error.h"
#include "core/io/json_file.h"
#include "launch/inference/passkey_report.h"
#include "launch/training/run_directory.h"

namespace palimpsest {

std::int64_t PasskeyResult::load(std::vector<PasskeyCell>& cells, bool again, Communicator& communicator) {
  std::string text;
  agree<FileError>(communicator, [&] {
    if (communicator.is_root() && !path_.empty() && std::filesystem::exists(path_)) text = read_text_file(path_);
  });
  text = broadcast_text(communicator, std::move(text), 0);
  if (text.empty()) return 0;
  const nlohmann::json saved = parse_json(text, path_.string());
  if (!saved.is_object() || saved.value("task", nlohmann::json()) != nlohmann::json(task_)) {
    if (again) return 0;
    throw ConfigError(
        fmt::format("{}: is the result of another checkpoint or task: name another file with --json, or "
                    "replace it with --again",
                    path_.string()));
  }
  try {
    std::vector<PasskeyCell> taken = cells;
    others_ = take_samples(cells_from_json(saved), taken);
    if (!again) cells = std::move(taken);
  } catch (const DataError& error) {
    throw FileError(fmt::format("{}: {}", path_.string(), error.what()));
  }
  std::int64_t samples = 0;
  for (const PasskeyCell& cell : cells) samples += static_cast<std::int64_t>(cell.samples.size());
  return samples;
}

void PasskeyResult::save(const std::vector<PasskeyCell>& cells) const {
  if (path_.empty()) return;
  const nlohmann::ordered_json json = {{"task", task_}, {"cells", to_json(joined(cells, others_))}};
  write_result(path_, json.dump(1) + '\n');
}

}  // namespace palimpsest
