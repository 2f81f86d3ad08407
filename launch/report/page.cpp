#include "launch/report/page.h"

namespace palimpsest {

std::string to_script_json(const nlohmann::ordered_json& json) {
  const std::string text = json.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::ordered_json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char character : text) {
    switch (character) {  // these stand in strings alone
      case '<': safe += "\\u003c"; break;
      case '>': safe += "\\u003e"; break;
      case '&': safe += "\\u0026"; break;
      default: safe += character;
    }
  }
  return safe;
}

std::string to_page(const nlohmann::ordered_json& report) {
  constexpr std::string_view mark = "@DATA@";
  const std::string_view page = page_template();
  const std::size_t place = page.find(mark);
  return std::string(page.substr(0, place)) + to_script_json(report) + std::string(page.substr(place + mark.size()));
}

}  // namespace palimpsest
