#include "core/io/json_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/printable.h"

namespace palimpsest {

namespace {

constexpr int max_depth = 64;
constexpr std::size_t max_values = 4'000'000;  // a value takes far more memory than the two bytes it can be written in
constexpr std::size_t shown_error = 400;

/// Watches the parser: the library itself keeps the last of several equal keys and recurses without
/// a limit when a value is copied or destroyed.
class Guard {
 public:
  explicit Guard(const std::string& name) : name_(name) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > max_depth) {
      throw FileError(fmt::format("{}: JSON nested deeper than {} levels", name_, max_depth));
    }
    if (event != Event::array_end && event != Event::object_end && ++values_ > max_values) {
      throw FileError(fmt::format("{}: JSON of more than {} values", name_, max_values));
    }
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      throw FileError(fmt::format("{}: the key '{}' is given twice", name_, printable(parsed.get<std::string>())));
    }
    return true;
  }

 private:
  const std::string& name_;
  std::size_t values_ = 0;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& name) {
  Guard guard(name);
  try {
    return nlohmann::json::parse(text, std::ref(guard));
  } catch (const nlohmann::json::parse_error& error) {
    throw FileError(fmt::format("{}: not JSON at byte {}: {}", name, error.byte, printable(error.what(), shown_error)));
  } catch (const nlohmann::json::exception& error) {  // a number too large for any type
    throw FileError(fmt::format("{}: {}", name, printable(error.what(), shown_error)));
  }
}

std::string read_text_file(const std::filesystem::path& path, std::size_t limit) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    throw FileError(fmt::format("{}: no such file", path.string()));
  }
  if (error) throw FileError(fmt::format("{}: {}", path.string(), error.message()));
  if (!std::filesystem::is_regular_file(status)) throw FileError(fmt::format("{}: not a regular file", path.string()));
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error) throw FileError(fmt::format("{}: {}", path.string(), error.message()));
  if (bytes > limit) {
    throw FileError(fmt::format("{}: {} bytes, expected at most {}", path.string(), bytes, limit));
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text(bytes, '\0');
  if (!stream || !stream.read(text.data(), static_cast<std::streamsize>(text.size()))) {
    throw FileError(fmt::format("{}: cannot read: {}", path.string(), std::strerror(errno)));
  }
  return text;
}

}  // namespace palimpsest
