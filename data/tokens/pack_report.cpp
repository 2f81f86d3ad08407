#include "data/tokens/pack_report.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace palimpsest {

namespace {

/// Calls field(key, member) for every number.
template <class Report, class Field>
void for_each_number(Report& report, Field&& field) {
  field("files", report.files);
  field("files_read", report.files_read);
  field("bytes_found", report.bytes_found);
  field("bytes_read", report.bytes_read);
  field("documents", report.documents);
  field("words", report.words);
  field("bytes", report.bytes);
  field("tokens", report.tokens);
  field("unknown_tokens", report.unknown_tokens);
  field("lossy_documents", report.lossy_documents);
}

}  // namespace

void PackReport::add(const PackReport& other) {
  files += other.files;
  files_read += other.files_read;
  bytes_found += other.bytes_found;
  bytes_read += other.bytes_read;
  documents += other.documents;
  words += other.words;
  bytes += other.bytes;
  tokens += other.tokens;
  unknown_tokens += other.unknown_tokens;
  problems.insert(problems.end(), other.problems.begin(), other.problems.end());
  lossy_documents += other.lossy_documents;
  const std::size_t more = std::min(other.lossy.size(), named_documents - std::min(named_documents, lossy.size()));
  lossy.insert(lossy.end(), other.lossy.begin(), other.lossy.begin() + static_cast<std::ptrdiff_t>(more));
}

std::string to_bytes(const PackReport& report) {
  nlohmann::json json = {{"problems", nlohmann::json::array()}, {"lossy", nlohmann::json::array()}};
  for_each_number(report, [&](const char* key, auto number) { json[key] = number; });
  for (const CorpusProblem& problem : report.problems) {
    json["problems"].push_back({static_cast<int>(problem.kind), problem.path, problem.reason});
  }
  for (const LossyDocument& document : report.lossy) json["lossy"].push_back({document.name, document.difference});
  std::string bytes;
  nlohmann::json::to_cbor(json, bytes);
  return bytes;
}

PackReport report_from_bytes(std::string_view bytes) {
  try {
    const nlohmann::json json = nlohmann::json::from_cbor(bytes.begin(), bytes.end());
    PackReport report;
    for_each_number(report, [&](const char* key, auto& number) { json.at(key).get_to(number); });
    for (const auto& problem : json.at("problems")) {
      const int kind = problem.at(0);
      if (kind < 0 || kind > static_cast<int>(CorpusProblem::Kind::too_long)) throw DataError("a problem of no kind");
      report.problems.push_back({static_cast<CorpusProblem::Kind>(kind), problem.at(1), problem.at(2)});
    }
    for (const auto& document : json.at("lossy")) report.lossy.push_back({document.at(0), document.at(1)});
    return report;
  } catch (const nlohmann::json::exception& error) {
    throw DataError(fmt::format("not a whole report of packing: {}", error.what()));
  }
}

}  // namespace palimpsest
