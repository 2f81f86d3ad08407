#include "launch/training/banner.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/sequence_share.h"
#include "launch/output/progress.h"
#include "launch/ranks/placement.h"
#include "layers/attention/registry.h"

namespace palimpsest {

namespace {

void print_placements(const std::vector<std::string>& placements, RunLog& log) {
  constexpr std::size_t max_hosts = 16;
  for (std::size_t host = 0; host < std::min(placements.size(), max_hosts); ++host) {
    log.note(fmt::format("  {:<14} {}", host == 0 ? "placement" : "", placements[host]));
  }
  if (placements.size() > max_hosts) {
    log.note(fmt::format("  {:<14} and {} more hosts", "", placements.size() - max_hosts));
  }
}

}  // namespace

void print_banner(const Banner& banner, RunLog& log) {
  const auto& [config, communicator, threads, run_directory, model, source, plan, step, teacher] = banner;
  const TrainConfig& train = config.train;
  const std::int64_t tokens_per_step = train.batch_size * train.sequence_length;
  log.note(fmt::format("Palimpsest {}: {}, {} each, {}", PALIMPSEST_VERSION, communicator.description(),
                       format_plural(threads.threads, "thread"), name_of(model.compute_type())));
  print_placements(describe_placements(threads.placements), log);
  log.note(fmt::format("  run directory  {}{}", run_directory.string(), step == 0 ? " (from the start)" : ""));
  log.note(fmt::format("  model          {} parameters, {} layers, {} heads of {}, segments of {} tokens",
                       format_count(static_cast<double>(model.parameters().elements())), config.model.num_layers,
                       config.model.num_heads, config.model.head_size, config.model.segment_length));
  if (const std::int64_t trained = model.parameters().trained_elements(); trained < model.parameters().elements()) {
    log.note(fmt::format("  trained        {} of the parameters: {}", format_count(static_cast<double>(trained)),
                         train.trainable.empty() ? "lora" : fmt::format("{}", fmt::join(train.trainable, ", "))));
  }
  if (teacher != nullptr) {
    const ModelConfig& taught = teacher->model->config();
    log.note(fmt::format("  teacher        {}, {} attention{}, a share of {} in the loss", teacher->path,
                         traits_of(taught.attention.kind).name,
                         taught.attention.kind == AttentionKind::local
                             ? fmt::format(" in segments of {} tokens", taught.segment_length)
                             : "",
                         config.distillation.share));
  }
  log.note(fmt::format("  attention      {}, keeps {}", traits_of(config.model.attention.kind).name,
                       describe_kept_numbers(model.config())));
  log.note(fmt::format("  data           {}, vocabulary {}", source.description(), source.vocab_size()));
  const auto epoch = source.epoch_tokens();
  log.note(fmt::format(
      "  a step         {} lanes of {} tokens{}{}", train.batch_size, train.sequence_length,
      train.interleave > 1 ? fmt::format(", from {} places in turn", train.interleave) : "",
      epoch ? fmt::format("; {:.1f} steps an epoch", static_cast<double>(*epoch) / static_cast<double>(tokens_per_step))
            : ""));
  if (train.sequence_ranks > 1) {
    const auto together = static_cast<int>(train.sequence_ranks);
    log.note(fmt::format("  sequences      each over {} neighbouring ranks, at most {} tokens a rank", together,
                         longest_share(train.sequence_length, config.model.segment_length, together)));
  }
  log.note(fmt::format("  schedule       {}, recomputing {}", name_of(plan.schedule), name_of(plan.recompute)));
  log.note(fmt::format("  plan           steps {} to {}", step + 1, train.steps));
}

}  // namespace palimpsest
