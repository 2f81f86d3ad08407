// The files that come with the program: every preset loads, and docs/configuration.md is what the
// schema says.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "configs/reference.h"
#include "configs/yaml.h"

namespace palimpsest {
namespace {

const std::filesystem::path source_directory = PALIMPSEST_SOURCE_DIR;

TEST(Presets, EveryOneLoadsAndItsModelFits) {
  int found = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(source_directory / "configs")) {
    if (entry.path().extension() != ".yaml") continue;
    ++found;
    SCOPED_TRACE(entry.path().string());
    RunConfig config;
    ASSERT_NO_THROW(config = load_run_config(entry.path()));
    EXPECT_NO_THROW(config.model.resolved());
    EXPECT_TRUE(config.data.kind != DataKind::text || !config.data.train.empty());
    EXPECT_NE(config.train.run_directory, RunConfig().train.run_directory);
    EXPECT_TRUE(differences(config, parse_run_config(to_yaml(config), "written")).empty());
  }
  EXPECT_GE(found, 3);
}

TEST(ConfigurationReference, IsWhatTheSchemaSays) {
  const std::filesystem::path path = source_directory / "docs" / "configuration.md";
  if (std::getenv("PALIMPSEST_WRITE_REFERENCE") != nullptr) std::ofstream(path) << configuration_reference();
  std::ifstream file(path);
  std::stringstream committed;
  committed << file.rdbuf();
  EXPECT_TRUE(committed.str() == configuration_reference())
      << path << " is out of date; write it with\n  PALIMPSEST_WRITE_REFERENCE=1 build/release/tests/configs_test"
      << " --gtest_filter='ConfigurationReference.*'";
}

}  // namespace
}  // namespace palimpsest
