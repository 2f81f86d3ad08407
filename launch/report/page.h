// A report as one HTML page that needs nothing else: launch/report/page/, Chart.js and the data.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace palimpsest {

/// The page without data, as the build has put it together (launch/report/page/embed.cmake): "@DATA@" stands once
/// where the data belong.
std::string_view page_template();

/// `report` is what to_report (launch/report/collection.h) makes. "refresh_seconds" in it makes the page load itself
/// again, "peak_flops" (FLOP/s) makes it show utilisation. Equal reports give equal pages.
std::string to_page(const nlohmann::ordered_json& report);

/// JSON that may stand in a <script> element: nothing in it ends the element or a line, and all of it is ASCII. Bytes
/// that are no UTF-8 become U+FFFD.
std::string to_script_json(const nlohmann::ordered_json& json);

}  // namespace palimpsest
