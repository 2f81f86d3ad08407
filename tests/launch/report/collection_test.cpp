// Run directories as one document: names, settings, results, and what makes it a page or CSV.
#include "launch/report/collection.h"

#include <cmath>
#include <fstream>

#include <gtest/gtest.h>

#include "core/error.h"
#include "launch/report/csv.h"
#include "launch/report/following.h"
#include "launch/report/page.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

constexpr const char* one_step = "{\"kind\":\"step\",\"step\":1,\"tokens\":8,\"tokens_per_second\":4,\"loss\":1.5}\n";

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

std::string error_of(const std::filesystem::path& run) {
  try {
    read_runs({run});
  } catch (const FileError& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Collection, NamesTellRunsApart) {
  const TemporaryDirectory directory;
  for (const char* run : {"a/seed-1", "b/seed-1"}) write(directory / run / "metrics.jsonl", one_step);
  const auto apart = read_runs({directory / "a/seed-1", directory / "b/seed-1/"});
  EXPECT_EQ(apart[0].name, "a/seed-1");
  EXPECT_EQ(apart[1].name, "b/seed-1");
  const auto twice = read_runs({directory / "a/seed-1", directory / "a/seed-1"});
  EXPECT_NE(twice[0].name, twice[1].name);
}

TEST(Collection, SettingsAreFlat) {
  const TemporaryDirectory directory;
  write(directory / "metrics.jsonl", one_step);
  write(directory / "config.yaml",
        "model:\n  hidden_size: 8\n  attention: {kind: infini}\ndata:\n  stages: [{a: 1}, {a: 2}]\n  x: []\n");
  const auto runs = read_runs({directory.path()});
  const std::vector<std::pair<std::string, std::string>> expected = {{"model.hidden_size", "8"},
                                                                     {"model.attention.kind", "infini"},
                                                                     {"data.stages.1.a", "1"},
                                                                     {"data.stages.2.a", "2"},
                                                                     {"data.x", ""}};
  EXPECT_EQ(runs[0].settings, expected);
}

TEST(Collection, SortsResultsByTheirKind) {
  const TemporaryDirectory directory;
  write(directory / "evaluation/test.json", R"({"total":{"tokens":30,"token_perplexity":2},"documents":[
    {"tokens":10,"words":2,"bytes":20,"negative_log_likelihood":10},{"tokens":20,"words":4,"bytes":40,"negative_log_likelihood":30}]})");
  write(directory / "evaluation/passkey.json",
        R"({"task":{},"cells":[{"length":32,"depth":0.5,"exact_match":{"share":1},
    "samples":[{"tokens":4},{"tokens":4}]}]})");
  write(directory / "evaluation/other.json", "[]");
  write(directory / "evaluation/notes.txt", "no JSON");
  const RunRecord run = read_runs({directory.path()}).front();
  ASSERT_EQ(run.evaluations.scores.size(), 1u);
  const auto& errors = run.evaluations.scores[0].at("total").at("standard_error");
  // The quotient is 4/3; the documents are off it by -10/3 and +10/3.
  const double error = std::sqrt(2 * 2 * (10.0 / 3) * (10.0 / 3)) / 30;
  EXPECT_NEAR(errors.at("token_perplexity").get<double>(), std::exp(4.0 / 3) * error, 1e-12);
  EXPECT_NEAR(errors.at("bits_per_byte").get<double>(), error / 2 / std::log(2.0), 1e-12);
  ASSERT_EQ(run.evaluations.passkeys.size(), 1u);
  EXPECT_EQ(run.evaluations.passkeys[0].at("cells")[0].at("samples"), 2);
  EXPECT_EQ(run.evaluations.passkeys[0].at("cells")[0].at("tokens"), 8);
  EXPECT_EQ(run.evaluations.others, std::vector<std::string>{"other.json"});
}

TEST(Collection, ASearchAloneIsAResult) {
  const TemporaryDirectory directory;
  const std::string estimates =
      R"("ndcg@10":{"mean":0.5,"low":0.25,"high":0.75},"mrr":{"mean":1,"low":1,"high":1},
      "recall@100":{"mean":1,"low":1,"high":1},"map":{"mean":1,"low":1,"high":1})";
  write(directory / "run/evaluation/search.json", R"({"queries":2,"judged":3,"runs":[{"run":"bm25.run",)" + estimates +
                                                      R"(},{"run":"memory.run",)" + estimates + R"(}],"difference":{)" +
                                                      estimates + R"(},"by_query":[{"query":"q"}]})");
  const auto runs = read_runs({directory / "run"});
  ASSERT_EQ(runs[0].evaluations.searches.size(), 1u);
  EXPECT_FALSE(runs[0].evaluations.searches[0].contains("by_query"));
  const auto files = to_csv(runs);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].name, "search.csv");
  EXPECT_TRUE(has(files[0].text, "run,search,2,memory.run,ndcg@10,0.5,0.25,0.75,,,\n"));
  EXPECT_TRUE(has(files[0].text, "run,search,2,difference,mrr,1,1,1,,,\n"));
}

TEST(Collection, RougeOfTextsIsAResult) {
  const TemporaryDirectory directory;
  const std::string scores =
      R"({"recall":{"mean":0.5,"low":0.25,"high":0.75},"precision":{"mean":1,"low":1,"high":1},
      "f1":{"mean":0.625,"low":0.5,"high":0.75}})";
  const auto result = [&](const std::string& last) {
    return R"({"texts":3,"stem":false,"rouge1":)" + scores + R"(,"rouge2":)" + scores + R"(,"rougeL":)" + scores +
           R"(,"rougeLsum":)" + last + R"(,"by_text":[{"id":"a"}]})";
  };
  write(directory / "run/evaluation/lead.json", result(scores));
  const auto runs = read_runs({directory / "run"});
  ASSERT_EQ(runs[0].evaluations.rouges.size(), 1u);
  EXPECT_FALSE(runs[0].evaluations.rouges[0].contains("by_text"));
  const auto files = to_csv(runs);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].name, "rouge_results.csv");
  EXPECT_TRUE(has(files[0].text, "run,lead,3,rougeLsum,0.5,0.25,0.75,1,1,1,0.625,0.5,0.75\n"));
  write(directory / "run/evaluation/lead.json", result("{}"));
  EXPECT_TRUE(has(error_of(directory / "run"), "lead.json: \"recall\" is missing, expected an object"));
}

TEST(Collection, NamesWhatItCannotUse) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(has(error_of(directory / "none"), "none: is no run directory"));
  EXPECT_TRUE(has(error_of(directory.path()), "holds neither metrics.jsonl nor results"));
  write(directory / "metrics.jsonl", "");
  EXPECT_TRUE(has(error_of(directory.path()), "metrics.jsonl: has no logged step yet"));
  write(directory / "metrics.jsonl", one_step);
  EXPECT_EQ(error_of(directory.path()), "");
  for (const char* damaged :
       {"{", R"({"total":1})", R"({"total":{},"by_position":{}})", R"({"cells":[{"length":1}]})",
        R"({"judged":1,"queries":1,"runs":[1]})", R"({"judged":1,"queries":1,"runs":[{"run":"a","ndcg@10":{}}]})"}) {
    write(directory / "evaluation/test.json", damaged);
    EXPECT_TRUE(has(error_of(directory.path()), "evaluation/test.json")) << damaged;
  }
}

TEST(Collection, ARunMayStandBeforeItsFirstStep) {
  const TemporaryDirectory directory;
  write(directory / "metrics.jsonl", "{\"kind\":\"evaluation\",\"step\":0,\"split\":\"validation\"}\n");
  ASSERT_TRUE(has_steps({directory.path()})) << "what makes --follow read it";
  const auto report = to_report(read_runs({directory.path()}));
  const auto& run = report.at("runs")[0];
  EXPECT_EQ(run.at("logged_steps"), 0);
  EXPECT_EQ(run.at("validation").dump(), R"([{"split":"validation","step":0}])");
}

TEST(Collection, LongRunsAreThinnedAndSaySo) {
  const TemporaryDirectory directory;
  std::string lines;
  for (int step = 1; step <= 500; ++step) {
    lines +=
        "{\"kind\":\"step\",\"step\":" + std::to_string(step) + ",\"loss\":2.123456789,\"gates\":[[0.123456,1]]}\n";
  }
  write(directory / "metrics.jsonl", lines);
  const auto report = to_report(read_runs({directory.path()}), 60, 20);
  const auto& run = report.at("runs")[0];
  EXPECT_EQ(run.at("logged_steps"), 500);
  EXPECT_LE(run.at("columns").at("step").size(), 62u);
  EXPECT_EQ(run.at("columns").at("step").back(), 500);
  EXPECT_EQ(run.at("columns").at("loss")[0].dump(), "2.123457");
  EXPECT_EQ(run.at("gates").at("steps").size(), 10u);
  EXPECT_EQ(run.at("gates").at("values")[0].dump(), "[[0.1235,1]]");
}

TEST(Page, DataCannotEndTheirElement) {
  const nlohmann::ordered_json hostile = {{"</script>", "<!-- & \u2028 \xff"}};
  const std::string json = to_script_json(hostile);
  EXPECT_EQ(json.find_first_of("<>&"), std::string::npos);
  for (const char character : json) EXPECT_GT(character, 0) << "ASCII";
  EXPECT_EQ(nlohmann::json::parse(json).at("</script>"), "<!-- & \u2028 \ufffd");
}

TEST(Page, HoldsTheDataOnce) {
  const std::string page = to_page({{"runs", nlohmann::json::array()}});
  EXPECT_NE(page.find(R"(id="report-data">{"runs":[]}</script>)"), std::string::npos);
  EXPECT_EQ(page.find("@DATA@"), std::string::npos);
  EXPECT_EQ(page.find("@CHART@"), std::string::npos);
}

TEST(Csv, SaysHowATextWasReadAndWhatWasForgotten) {
  const TemporaryDirectory directory;
  write(directory / "run/metrics.jsonl",
        R"({"kind":"evaluation","step":4,"split":"books","tokens":2,"loss":1.5,"forgetting":0.25})"
        "\n");
  write(directory / "run/evaluation/test.json", R"({"step":4,"memory":"kept","window":32,"stride":16,"total":{}})");
  const auto files = to_csv(read_runs({directory / "run"}));
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].name, "validation.csv");
  EXPECT_TRUE(files[0].text.starts_with("run,step,split,loss,forgetting,tokens,"));
  EXPECT_TRUE(has(files[0].text, "run,4,books,1.5,0.25,2,"));
  EXPECT_EQ(files[1].name, "evaluations.csv");
  EXPECT_TRUE(files[1].text.starts_with("run,result,step,memory,window,stride,complete,"));
  EXPECT_TRUE(has(files[1].text, "run,test,4,kept,32,16,,"));
}

TEST(Csv, QuotesWhatNeedsIt) {
  const TemporaryDirectory directory;
  write(directory / "run" / "metrics.jsonl", one_step);
  auto runs = read_runs({directory / "run"});
  runs[0].settings = {{"data.test", "a \"b\", c"}};
  runs[0].history.columns[1][0] = std::nan("");
  const auto files = to_csv(runs);
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].name, "steps.csv");
  EXPECT_EQ(files[0].text, "run,hours,step,loss,tokens,tokens_per_second\nrun,0.0005555555555555556,1,,8,4\n");
  EXPECT_EQ(files[1].text, "run,key,value\nrun,data.test,\"a \"\"b\"\", c\"\n");
}

}  // namespace
}  // namespace palimpsest
