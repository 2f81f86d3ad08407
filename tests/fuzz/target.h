// What a fuzz target consists of; fuzz_main.cpp hands it to libFuzzer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace palimpsest::fuzz {

/// Inputs to start from, at least one of them valid.
std::vector<std::string> seeds();

/// Reads one input. May throw palimpsest::Error, which is how input is refused; anything else is a finding.
void run(std::string_view input);

}  // namespace palimpsest::fuzz
