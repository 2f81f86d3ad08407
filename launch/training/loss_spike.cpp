#include "launch/training/loss_spike.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace palimpsest {

namespace {

// The standard deviation of a normal distribution in median absolute deviations.
constexpr double deviations_per_spread = 1.4826;
// A loss that hardly varies shall not make a spike of a trifle.
constexpr double least_relative_spread = 0.01;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::string LossSpike::describe() const {
  return fmt::format(
      "the loss {:.4g} is a spike, {:.3g} times the spread {:.2g} above the median {:.4g} of the last steps", loss,
      (loss - median) / spread, spread, median);
}

std::optional<LossSpike> LossSpikeDetector::look(double loss) {
  if (config_.policy == LossSpikePolicy::off || !std::isfinite(loss)) return std::nullopt;
  std::optional<LossSpike> spike;
  const auto size = static_cast<std::size_t>(config_.window);
  if (!window_.empty() && window_.size() >= size / 2) {
    const double middle = median(window_);
    std::vector<double> distances;
    for (const double value : window_) distances.push_back(std::abs(value - middle));
    const double spread =
        std::max(deviations_per_spread * median(std::move(distances)), least_relative_spread * std::abs(middle));
    if (loss - middle > config_.threshold * spread) spike = LossSpike{loss, middle, spread};
  }
  window_.push_back(loss);
  if (window_.size() > size) window_.erase(window_.begin());
  return spike;
}

void LossSpikeDetector::restore(std::vector<double> window) {
  std::erase_if(window, [](double loss) { return !std::isfinite(loss); });
  const auto size = static_cast<std::size_t>(config_.window);
  if (window.size() > size) window.erase(window.begin(), window.end() - static_cast<std::ptrdiff_t>(size));
  window_ = std::move(window);
}

}  // namespace palimpsest
