#include "launch/exchange/stored_model.h"

#include <system_error>
#include <utility>

#include "core/comm/agreement.h"
#include "core/error.h"
#include "launch/exchange/import_model.h"

namespace palimpsest {

StoredModel open_stored_model(const std::filesystem::path& path, Communicator& communicator, MemoryPool& pool) {
  std::error_code error;
  if (!std::filesystem::exists(path / "config.json", error)) return open_checkpoint_model(path, communicator, pool);
  StoredModel stored;
  agree<FileError>(communicator, [&] {
    ReleasedModel released =
        read_released_model({.folder = path, .destination = {}, .overrides = {}, .tokenizer = {}}, pool);
    stored = {.path = path.string(),
              .config = std::move(released.config),
              .tokenizer_identity = released.tokenizer->identity(),
              .model = std::move(released.model),
              .made_up = std::move(released.initialized)};
  });
  stored.config.model = stored.config.model.resolved();
  return stored;
}

}  // namespace palimpsest
