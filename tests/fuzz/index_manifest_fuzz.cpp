// What search indexes say about themselves: the first byte says whether index.json or a shard's list of documents.
#include "launch/search/index_files.h"
#include "launch/search/memory_index.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  return {
      R"(i{"format": "palimpsest index", "version": 1, "config": "a: 1\n", "parameters": "", "compute_type": "float32",
"tokenizer": "bytes", "type": "bfloat16", "stemmer": "none", "next": 2,
"shards": [{"file": "states-000001.safetensors", "documents": 1, "hash": "0"}]})",
      R"(d[{"id": "a", "title": "", "hash": "0", "tokens": 3}])"};
}

void run(std::string_view input) {
  if (input.empty()) return;
  if (input.front() != 'i') {
    for (const IndexedDocument& document : parse_indexed_documents(input.substr(1), "shard")) {
      if (document.tokens < 0) __builtin_trap();
    }
    return;
  }
  for (const IndexShard& shard : parse_index_manifest(input.substr(1), "index.json").shards) {
    if (!is_shard_name(shard.file)) __builtin_trap();
  }
}

}  // namespace palimpsest::fuzz
