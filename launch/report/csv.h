// The numbers of a report as CSV (launch/output/csv.h), for spreadsheets and plotting programs.
#pragma once

#include <string>
#include <vector>

#include "launch/report/collection.h"

namespace palimpsest {

struct CsvFile {
  std::string name;  // "steps.csv"
  std::string text;  // a heading, and a line for each row
};

/// steps.csv (every logged step, none left out), gates.csv, validation.csv, evaluations.csv, documents.csv,
/// positions.csv, rouge.csv, rouge_results.csv, passkey.csv, search.csv and configuration.csv; without those that would
/// have no row. The first column is the run's name. A number that is not known is an empty field.
std::vector<CsvFile> to_csv(const std::vector<RunRecord>& runs);

}  // namespace palimpsest
