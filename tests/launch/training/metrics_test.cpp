// metrics.jsonl: what a step leaves behind, and what a resumed run finds.
#include "launch/training/metrics.h"

#include <cmath>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::filesystem::path& path, const std::string& text) { std::ofstream(path) << text; }

TEST(Metrics, StepSaysLossThreeWaysAndItsTime) {
  StepMetrics metrics;
  metrics.step = 7;
  metrics.loss = std::log(8.0);
  metrics.time = 86400 + 61;
  const auto json = metrics.to_json();
  EXPECT_EQ(json.at("step"), 7);
  EXPECT_NEAR(json.at("perplexity").get<double>(), 8.0, 1e-12);
  EXPECT_NEAR(json.at("bits_per_token").get<double>(), 3.0, 1e-12);
  EXPECT_EQ(json.at("time"), "1970-01-02T00:01:01Z");
}

TEST(Metrics, AStepWithoutATargetHasNoLoss) {
  StepMetrics metrics;
  metrics.loss = std::nan("");
  metrics.has_targets = false;
  EXPECT_TRUE(nlohmann::json::parse(metrics.to_json().dump()).at("loss").is_null());
  EXPECT_TRUE(format_step(metrics, 9, 1).starts_with("step 0/9  all masked  "));
}

TEST(Metrics, AStepSaysHowManyQueriesFoundTheirDocument) {
  StepMetrics metrics;
  EXPECT_FALSE(metrics.to_json().contains("contrast"));
  metrics.contrast = {.loss = 3, .tokens = 4, .found = {1, 8}};
  EXPECT_EQ(metrics.to_json().at("contrast"), 0.75);
  EXPECT_EQ(metrics.to_json().at("found"), 0.125);
  EXPECT_NE(format_step(metrics, 9, 1).find("  contrast 0.7500 (12.5 % found)"), std::string::npos);
}

TEST(Metrics, GatesAreWrittenSomeTwoHundredTimes) {
  EXPECT_EQ(gates_line(7, {{0.5, 0.25}}).dump(), R"({"kind":"gates","step":7,"gates":[[0.5,0.25]]})");
  const auto count = [](std::int64_t steps, std::int64_t log_every) {
    std::int64_t due = 0;
    for (std::int64_t step = log_every; step <= steps; step += log_every) due += gates_due(step, steps, log_every);
    return due;
  };
  EXPECT_EQ(count(150, 1), 150);
  EXPECT_EQ(count(100'000, 20), 200);
  EXPECT_LE(count(100'001, 7), 200);
  EXPECT_TRUE(gates_due(1, 100'000, 20));
  EXPECT_TRUE(gates_due(999, 999, 20));
}

TEST(Metrics, StepThatIsNotFiniteIsStillJson) {
  StepMetrics metrics;
  metrics.loss = std::nan("");
  EXPECT_EQ(nlohmann::json::parse(metrics.to_json().dump()).at("loss"), nullptr);
}

TEST(Metrics, GatesAreTheSigmoidOfBeta) {
  MemoryPool pool;
  ParameterList parameters;
  const std::vector<double> beta = {0.0, std::log(3.0)};
  parameters.add(pool, "norm.weight", ParameterRole::norm, Tensor::zeros(pool, Shape{2}, DataType::float32),
                 DataType::float32);
  parameters.add(pool, "layers.0.self_attn.memory_gate", ParameterRole::memory_gate,
                 Tensor::from_values(pool, Shape{2}, DataType::float32, beta), DataType::float32);
  const auto gates = gate_values(parameters);
  ASSERT_EQ(gates.size(), 1u);
  EXPECT_NEAR(gates[0][0], 0.5, 1e-7);
  EXPECT_NEAR(gates[0][1], 0.75, 1e-7);
}

TEST(MetricsLog, KeepsLinesUpToTheResumedStepAndDropsTornOnes) {
  const std::string good = "{\"step\":1}\n{\"step\":2}\n{\"kind\":\"evaluation\",\"step\":2}\n";
  EXPECT_EQ(lines_until(good + "{\"step\":3}\n", 2), good);
  EXPECT_EQ(lines_until(good + "{\"step\":2,\"lo", 2), good);
  EXPECT_EQ(lines_until("not json\n[1]\n{\"loss\":1}\n" + good, 9), good);
  EXPECT_EQ(lines_until(good, 0), "");
}

TEST(MetricsLog, AppendsAfterWhatItKept) {
  const TemporaryDirectory directory;
  write(directory / "metrics.jsonl", "{\"step\":1}\n{\"step\":2}\n{\"st");
  {
    MetricsLog log(directory / "metrics.jsonl", 1, [](const std::string&) {});
    log.append({{"step", 2}});
    log.append({{"step", 3}});
  }
  EXPECT_EQ(read(directory / "metrics.jsonl"), "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n");
}

TEST(MetricsLog, KnowsWhatWasEvaluated) {
  const TemporaryDirectory directory;
  const auto path = directory / "metrics.jsonl";
  EXPECT_FALSE(holds_evaluation(path, 2)) << "no file";
  write(path,
        "not json\n[1]\n{\"kind\":\"step\",\"step\":2}\n{\"kind\":\"evaluation\",\"step\":4,\"split\":\"validation\"}\n"
        "{\"kind\":\"evaluation\",\"step\":6,\"split\":\"other\"}\n{\"kind\":\"evaluation\",\"step\":8,\"split\":"
        "\"valid");
  EXPECT_FALSE(holds_evaluation(path, 2)) << "a step";
  EXPECT_TRUE(holds_evaluation(path, 4));
  EXPECT_FALSE(holds_evaluation(path, 6)) << "another split";
  EXPECT_TRUE(holds_evaluation(path, 6, "other"));
  EXPECT_FALSE(holds_evaluation(path, 8)) << "a torn line";
}

TEST(LeastLosses, TellHowFarALossHasRisen) {
  const TemporaryDirectory directory;
  const auto path = directory / "metrics.jsonl";
  LeastLosses losses;
  losses.read(path, 9);
  EXPECT_EQ(losses.add("old", 1, 2.0).nats, 0);
  EXPECT_EQ(losses.add("old", 2, 1.5).nats, 0);
  EXPECT_EQ(losses.add("new", 2, 9.0).nats, 0);
  EXPECT_EQ(losses.add("old", 3, 1.75).nats, 0.25);
  EXPECT_EQ(losses.add("old", 3, 1.75).since, 2);
  write(path,
        "{\"kind\":\"evaluation\",\"step\":4,\"split\":\"old\",\"loss\":1.0}\n"
        "{\"kind\":\"step\",\"step\":4,\"loss\":0.5}\n"
        "{\"kind\":\"evaluation\",\"step\":6,\"split\":\"old\",\"loss\":0.25}\n");
  LeastLosses resumed;
  resumed.read(path, 5);
  EXPECT_EQ(resumed.add("old", 6, 1.5).nats, 0.5) << "what came after the step is forgotten";
}

TEST(MixedLosses, AreThoseSinceTheLastLine) {
  MixedLosses losses;
  losses.add(std::vector<SourceTotals>{{6, 2, {1, 4}}, {0, 0, {}}});
  losses.add(std::vector<SourceTotals>{{4, 3, {3, 4}}, {0, 0, {}}});
  StepMetrics metrics;
  metrics.sources = losses.take({"books", "notes"});
  const auto json = metrics.to_json().at("sources");
  EXPECT_EQ(json.dump(), R"({"books":{"loss":2.0,"loss_weight":5.0,"answer_accuracy":0.5}})");
  EXPECT_NE(format_step(metrics, 1, 0).find("  books 2.0000 (50.0 % right)  "), std::string::npos);
  EXPECT_TRUE(losses.take({"books", "notes"}).empty());
}

TEST(MetricsLog, NamesTheFileItCannotWrite) {
  try {
    MetricsLog log("/no/such/folder/metrics.jsonl", 0, [](const std::string&) {});
    FAIL() << "expected an error";
  } catch (const WriteError& error) {
    EXPECT_NE(std::string(error.what()).find("/no/such/folder/metrics.jsonl"), std::string::npos);
  }
}

TEST(StepMetrics, LineForPeople) {
  StepMetrics metrics;
  metrics.step = 120;
  metrics.loss = 2.0;
  metrics.gradient_norm = 0.5;
  metrics.learning_rate = 3e-4;
  metrics.tokens_per_second = 12345;
  EXPECT_EQ(format_step(metrics, 1000, 185),
            "step 120/1000  loss 2.0000  ppl 7.39  bits/token 2.885  12.3 k tokens/s  lr 3.00e-04  grad 0.500  "
            "ETA 3 min 05 s");
}

}  // namespace
}  // namespace palimpsest
