// metadata.csv of a corpus.
#include "data/text/corpus_metadata.h"
#include "tests/fuzz/target.h"

namespace palimpsest::fuzz {

std::vector<std::string> seeds() {
  return {"76,Huckleberry Finn by Mark Twain,1885,http://www.gutenberg.org/ebooks/76\n",
          "id,title,year,url\r\n10,\"Emma, a \"\"novel\"\"\nin three volumes\",1815,\n11,,-5,u"};
}

void run(std::string_view input) { parse_corpus_metadata(input, "metadata.csv"); }

}  // namespace palimpsest::fuzz
