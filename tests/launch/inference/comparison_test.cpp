// Evaluations read back from their files, and the differences between several of them.
#include "launch/inference/comparison.h"

#include <cmath>
#include <fstream>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "launch/inference/comparison_report.h"
#include "launch/inference/score_report.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

EvaluationResult result(const std::vector<double>& nll) {
  EvaluationResult result;
  const std::vector<std::int64_t> tokens = {100, 140, 50, 210};
  for (std::size_t i = 0; i < nll.size(); ++i) {
    result.documents.push_back({"book " + std::to_string(i), tokens[i], tokens[i] / 2, 4 * tokens[i], nll[i]});
    result.total.add(result.documents.back());
  }
  result.by_position = {{0, 512, 400, 900}, {512, 1024, 100, result.total.nll - 900}};
  result.by_position_in_segment = {{0, 16, 500, result.total.nll}};
  result.by_compressions = {{0, 1, 500, result.total.nll}};
  return result;
}

/// As `palimpsest eval` writes it.
nlohmann::ordered_json json_of(const EvaluationResult& result, std::int64_t step = 7) {
  nlohmann::ordered_json json = {
      {"checkpoint", "run/checkpoints"}, {"step", step}, {"data", "test.h5"}, {"data_checksum", "abc"}};
  json.update(to_json(result));
  return json;
}

SavedEvaluation saved(const EvaluationResult& result, const std::string& name = "result.json") {
  return parse_evaluation(json_of(result).dump(), name);
}

std::vector<ComparedRun> two(const SavedEvaluation& first, const SavedEvaluation& second) {
  return {{"a", first, {}, {}}, {"b", second, {}, {}}};
}

std::string refusal(const SavedEvaluation& first, const SavedEvaluation& second) {
  try {
    compare(two(first, second));
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

const std::vector<double> first_nll = {210, 330, 95, 480}, second_nll = {205, 331, 90, 466};

TEST(EvaluationFile, IsReadAsItWasWritten) {
  EvaluationResult written = result(first_nll);
  written.memory_segments = 4;
  const SavedEvaluation read = saved(written);
  EXPECT_EQ(read.step, 7);
  EXPECT_EQ(read.data, "test.h5");
  EXPECT_EQ(read.data_checksum, "abc");
  EXPECT_TRUE(read.complete);
  EXPECT_EQ(read.memory, "reset:4");
  ASSERT_EQ(read.documents.size(), 4u);
  EXPECT_EQ(read.documents[3].name, "book 3");
  EXPECT_EQ(read.documents[3].tokens, 210);
  EXPECT_EQ(read.total.nll, written.total.nll);
  ASSERT_EQ(read.by_position.size(), 2u);
  EXPECT_EQ(read.by_position[1].begin, 512);
  EXPECT_EQ(read.by_compressions[0].tokens, 500);
}

TEST(EvaluationFile, OfAnEarlierVersionHasFewerLists) {
  nlohmann::ordered_json json = json_of(result(first_nll));
  json.erase("by_compressions");
  EXPECT_TRUE(parse_evaluation(json.dump(), "old.json").by_compressions.empty());
}

TEST(EvaluationFile, SaysWhatIsWrongWithAnother) {
  const nlohmann::ordered_json good = json_of(result(first_nll));
  const auto message = [](const std::string& text) -> std::string {
    try {
      parse_evaluation(text, "bad.json");
    } catch (const FileError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_TRUE(message("[]").starts_with("bad.json: is no result of an evaluation")) << message("[]");
  EXPECT_TRUE(message("{").starts_with("bad.json: ")) << message("{");
  nlohmann::ordered_json bad = good;
  bad["documents"][2]["tokens"] = -5;
  EXPECT_NE(message(bad.dump()).find("tokens is -5, expected a whole number"), std::string::npos);
  bad["documents"][2]["tokens"] = 18446744073709551615u;
  EXPECT_NE(message(bad.dump()).find("expected a whole number"), std::string::npos);
  bad = good;
  bad["total"] = 3;  // not looked at
  bad["documents"][1]["negative_log_likelihood"] = nullptr;
  EXPECT_NE(message(bad.dump()).find("negative_log_likelihood is null, expected a number"), std::string::npos);
  bad = good;
  bad["by_position"] = 3;
  EXPECT_NE(message(bad.dump()).find("a list was expected"), std::string::npos);
}

TEST(EvaluationFile, TheNewestIsThatOfTheHighestStepOfWholeDocumentsWithTheMemoryKept) {
  const TemporaryDirectory folder;
  const auto write = [&](const std::string& name, const nlohmann::ordered_json& json) {
    std::ofstream(folder / name) << json;
  };
  EXPECT_THROW(newest_evaluation(folder.path(), "test.h5", "abc"), FileError);
  write("test-step-5.json", json_of(result(first_nll), 5));
  write("other-name.json", json_of(result(first_nll), 30));
  write("passkey.json", {{"task", {{"step", 99}}}, {"cells", nlohmann::json::array()}});
  write("comparison.json", to_json(compare(two(saved(result(first_nll)), saved(result(second_nll))))));
  EvaluationResult other = result(first_nll);
  other.memory_segments = 1;
  write("none.json", json_of(other, 90));
  other = result(first_nll);
  other.unfinished = 1;
  write("partial.json", json_of(other, 91));
  other = result(first_nll);
  other.window = 8, other.stride = 4;
  write("window.json", json_of(other, 92));
  nlohmann::ordered_json validation = json_of(result(first_nll), 93);
  validation["data"] = "validation.h5", validation["data_checksum"] = "def";
  write("validation.json", validation);
  EXPECT_EQ(newest_evaluation(folder.path(), "test.h5", "abc").step, 30);
  std::ofstream(folder / "broken.json") << "{";
  EXPECT_THROW(newest_evaluation(folder.path(), "test.h5", "abc"), FileError);
}

TEST(EvaluationFile, TheNewestIsOfTheSameContentUnderWhateverPath) {
  const TemporaryDirectory folder;
  const auto write = [&](std::int64_t step, const std::string& data, const std::string& checksum) {
    nlohmann::ordered_json json = json_of(result(first_nll), step);
    json["data"] = data, json["data_checksum"] = checksum;
    std::ofstream(folder / fmt::format("{}.json", step)) << json;
  };
  write(9, "elsewhere/test.h5", "other");
  EXPECT_THROW(newest_evaluation(folder.path(), "test.h5", "abc"), FileError);
  write(5, "test.h5", "before it was packed anew");
  EXPECT_EQ(newest_evaluation(folder.path(), "test.h5", "").step, 5);
  EXPECT_EQ(newest_evaluation(folder.path(), "test.h5", "abc").step, 5);
  write(3, "elsewhere/test.h5", "abc");
  EXPECT_EQ(newest_evaluation(folder.path(), "test.h5", "abc").step, 3);
  write(4, "/absolute/test.h5", "abc");
  EXPECT_EQ(newest_evaluation(folder.path(), "test.h5", "abc").step, 4);
}

// numpy: x = array([100, 140, 50, 210.]), a = array([210, 330, 95, 480.]), d = array([205, 331, 90, 466.]) - a;
// r = d.sum()/x.sum(); sqrt(4/3*((d-r*x)**2).sum())/x.sum(); and the same with a/100 for x.
TEST(Comparison, DifferencesAreDocumentByDocument) {
  const std::vector<ComparedRun> runs = compare(two(saved(result(first_nll)), saved(result(second_nll))));
  EXPECT_FALSE(runs[0].difference);
  ASSERT_TRUE(runs[1].difference.has_value());
  const PairedDifference& d = *runs[1].difference;
  EXPECT_NEAR(d.nats_per_token.ratio, -23.0 / 500, 1e-15);
  EXPECT_NEAR(*d.nats_per_token.standard_error, 0.0208664579329283, 1e-12);
  EXPECT_NEAR(d.percent.ratio, -2300.0 / 1115, 1e-12);
  EXPECT_NEAR(*d.percent.standard_error, 0.968394878137753, 1e-12);
  EXPECT_EQ(d.better, 3);
  EXPECT_EQ(d.worse, 1);
  EXPECT_NEAR(d.sign_test, 2 * (1 + 4) / 16.0, 1e-12);
  // Much smaller than the standard error of either run alone.
  EXPECT_LT(*d.nats_per_token.standard_error, runs[0].errors->nats_per_token / 2);
  ASSERT_EQ(d.by_position.size(), 2u);
  EXPECT_EQ(d.by_position[0].nats_per_token, 0.0);
  EXPECT_NEAR(d.by_position[1].nats_per_token, -23.0 / 100, 1e-12);
  EXPECT_NEAR(d.by_compressions[0].nats_per_token, -23.0 / 500, 1e-12);
}

TEST(Comparison, LeavesOutRangesThatHoldOtherTokens) {
  EvaluationResult other = result(second_nll);
  other.by_compressions = {{0, 1, 300, 1.0}, {1, 2, 200, 1.0}};
  other.by_position_in_segment.clear();
  const std::vector<ComparedRun> runs = compare(two(saved(result(first_nll)), saved(other)));
  EXPECT_TRUE(runs[1].difference->by_compressions.empty());
  EXPECT_TRUE(runs[1].difference->by_position_in_segment.empty());
  EXPECT_EQ(runs[1].difference->by_position.size(), 2u);
}

TEST(Comparison, RefusesOtherDocuments) {
  const SavedEvaluation first = saved(result(first_nll), "first.json");
  SavedEvaluation second = saved(result(second_nll), "second.json");
  EXPECT_EQ(refusal(first, second), "");
  second.documents[1].name = "another";
  EXPECT_EQ(refusal(first, second),
            "first.json and second.json: are not of the same documents: document 1 is book 1 of 140 tokens and another "
            "of 140 tokens");
  second = saved(result(second_nll), "second.json");
  second.documents[2].tokens = 51;
  EXPECT_NE(refusal(first, second).find("document 2"), std::string::npos);
  second.documents.pop_back();
  EXPECT_NE(refusal(first, second).find("there are 4 and 3"), std::string::npos);
  second.data_checksum = "abd";
  EXPECT_NE(refusal(first, second).find("the checksums of test.h5 and test.h5 are abc and abd"), std::string::npos);
  second.complete = false;
  EXPECT_EQ(refusal(first, second), "second.json: is of an evaluation that was stopped");
}

TEST(Comparison, SignTestIsThatOfTheBinomialDistribution) {
  EXPECT_EQ(sign_test(0, 0), 1.0);
  EXPECT_EQ(sign_test(5, 5), 1.0);
  EXPECT_NEAR(sign_test(0, 10), 2.0 / 1024, 1e-15);
  EXPECT_NEAR(sign_test(9, 1), 22.0 / 1024, 1e-14);
  EXPECT_EQ(sign_test(1, 9), sign_test(9, 1));
}

TEST(Comparison, IsShownAndWritten) {
  const std::vector<ComparedRun> runs = compare(two(saved(result(first_nll)), saved(result(second_nll))));
  const std::string table = format_comparison(runs);
  EXPECT_NE(table.find("against a"), std::string::npos) << table;
  EXPECT_NE(table.find("-0.04600"), std::string::npos) << table;
  const nlohmann::ordered_json json = to_json(runs);
  EXPECT_EQ(json["documents"], 4);
  EXPECT_FALSE(json["runs"][0].contains("difference"));
  EXPECT_EQ(json["runs"][1]["difference"]["better"], 3);
  EXPECT_TRUE(json["runs"][1]["total"]["standard_error"].contains("bits_per_byte"));
  const std::string csv = to_csv(runs);
  EXPECT_NE(csv.find("difference,b,,,500,better,3,\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find("by_position,b,512,1024,100,nats_per_token,-0.23,\n"), std::string::npos) << csv;
}

}  // namespace
}  // namespace palimpsest
