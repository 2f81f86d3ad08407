// Training batches of one token file whose steps are aligned to what is to be learnt: of a document with a masked
// prompt, a step begins exactly so many segments before the first target behind it. Documents are read whole, each in
// one lane, and fill whole windows of `sequence_length` tokens (data/stream/window_units.h); places beside them are
// filled with end tokens, each run of them a document of its own, which nothing learns from and no document sees.
//
// Units of windows are shared out to as many groups as there are lanes. In its round r lane i reads group i + r (modulo
// the lanes), shuffled anew. After as many rounds as there are lanes it has read every document once, in as many steps
// as there are windows: so where a lane is after n steps follows from n alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/stream/document_order.h"
#include "data/stream/token_source.h"
#include "data/stream/token_window.h"
#include "data/stream/window_units.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

class AlignedStream final : public TokenSource {
 public:
  /// `segments` stand before the first target. Throws ConfigError where they leave no room for it in a sequence,
  /// DataError where the documents are too few for the lanes.
  AlignedStream(std::shared_ptr<const TokenFile> file, const SourceShape& shape, std::int64_t segments);

  TokenBatch next(LaneRun lanes) override;
  nlohmann::json state() const override;
  void restore(const nlohmann::json& state) override;

  std::string name() const override { return file_->path().string(); }
  std::string description() const override;
  /// With the places beside documents.
  std::optional<std::int64_t> epoch_tokens() const override { return windows_ * shape_.sequence_length; }
  std::string position() const override { return {}; }
  std::int64_t vocab_size() const override { return file_->vocab_size(); }
  std::string tokenizer_identity() const override { return file_->tokenizer_identity(); }
  std::string_view tokenizer_model() const override { return file_->tokenizer_model(); }

 private:
  /// Units, and where each begins among the group's windows, with the number of these at the end.
  struct Group {
    std::vector<std::size_t> units;
    std::vector<std::int64_t> offsets;
  };
  /// A lane's reader: the order of the round that it is in.
  struct Lane {
    TokenWindow window;
    std::int64_t round = -1;
    std::unique_ptr<const DocumentOrder> order;
  };
  /// Where a lane is: a window of a unit.
  struct Place {
    std::size_t unit = 0;
    std::int64_t window = 0;
  };

  Place place(std::int64_t lane, Lane& reader) const;
  void fill(const Place& place, TokenWindow& window, std::int64_t row, TokenBatch& batch) const;
  nlohmann::json task() const;

  std::shared_ptr<const TokenFile> file_;
  SourceShape shape_;
  std::int64_t segments_;
  std::vector<WindowUnit> units_;
  std::vector<Group> groups_;
  std::int64_t windows_ = 0;  // of all units
  std::int64_t steps_ = 0;
  std::map<std::int64_t, Lane> lanes_;
};

}  // namespace palimpsest
