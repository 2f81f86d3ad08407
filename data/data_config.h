// Where a run's tokens come from.
#pragma once

#include <string>

namespace palimpsest {

struct DataConfig {
  std::string train;       // token file of the training split
  std::string validation;  // token file of the validation split; empty: no evaluation while training
  std::string test;        // token file of the test split
};

}  // namespace palimpsest
