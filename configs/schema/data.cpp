// The keys of `data`.
#include "configs/schema.h"

namespace palimpsest {

using namespace schema;

void describe(DataConfig& data, SchemaVisitor& visitor) {
  visitor.field("train", data.train, Text{}, "The training split.");
  visitor.field("validation", data.validation, Text{},
                "The validation split, evaluated while training. Empty: no evaluation while training.");
  visitor.field("test", data.test, Text{}, "The test split, for `palimpsest eval`.");
}

}  // namespace palimpsest
