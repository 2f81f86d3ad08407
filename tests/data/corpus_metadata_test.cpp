#include "data/text/corpus_metadata.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/file_damage.h"
#include "tests/temporary_directory.h"

namespace palimpsest {
namespace {

TEST(CorpusMetadata, ReadsQuotedFields) {
  const CorpusMetadata metadata = parse_corpus_metadata(
      "id,title,year,url\r\n"
      "76,Huckleberry Finn by Mark Twain,1885,http://x/76\r\n"
      "10,\"Emma, a \"\"novel\"\"\nin three volumes\",1815,http://x/10\n"
      "11,No year,,\n"
      "12,,-400,http://x/12",
      "metadata.csv");
  EXPECT_EQ(metadata, (CorpusMetadata{{"76", {"Huckleberry Finn by Mark Twain", 1885}},
                                      {"10", {"Emma, a \"novel\"\nin three volumes", 1815}},
                                      {"11", {"No year", 0}},
                                      {"12", {"", -400}}}));
  EXPECT_TRUE(parse_corpus_metadata("", "metadata.csv").empty());
}

TEST(CorpusMetadata, NamesTheLineOfWhatIsWrong) {
  const auto error = [](const std::string& line) {
    return message_of<DataError>([&] { parse_corpus_metadata("1,\"two\nlines\",1900,url\n" + line, "m.csv"); });
  };
  EXPECT_EQ(error("2,title,1900\n"), "m.csv: line 3: 3 fields, expected id,title,year,url");
  EXPECT_EQ(error("2,a, b,1900,url\n"), "m.csv: line 3: 5 fields, expected id,title,year,url");
  EXPECT_EQ(error("2,title,MCM,url\n"), "m.csv: line 3: the year \"MCM\", expected id,title,year,url");
  EXPECT_EQ(error("2,title,1900x,url\n"), "m.csv: line 3: the year \"1900x\", expected id,title,year,url");
  EXPECT_EQ(error("1,title,1900,url\n"), "m.csv: line 3: 1 a second time, expected id,title,year,url");
  EXPECT_EQ(error(",title,1900,url\n"), "m.csv: line 3: no id, expected id,title,year,url");
  EXPECT_EQ(error("2,\"title,1900,url\n"), "m.csv: line 3: a quote that does not end, expected id,title,year,url");
  EXPECT_EQ(error("2,ti\"tle,1900,url\n"),
            "m.csv: line 3: a quote in the midst of a field, expected id,title,year,url");
  EXPECT_TRUE(holds(error("2,\xE9,1900,url\n"), "is not UTF-8 at offset"));
}

TEST(CorpusMetadata, GoesToTheFilesItKnows) {
  const TemporaryDirectory directory;
  overwrite_file(directory / "metadata.csv", "2,Two,1902,\n3,Three,1903,\n");
  std::vector<CorpusFile> files = {{"1.txt", "1"}, {"2.txt", "2"}};
  set_origins(read_corpus_metadata(directory / "metadata.csv"), files);
  EXPECT_EQ(files[0].origin, DocumentOrigin());
  EXPECT_EQ(files[1].origin, (DocumentOrigin{"Two", 1902}));
  EXPECT_THROW(read_corpus_metadata(directory / "none.csv"), FileError);
}

}  // namespace
}  // namespace palimpsest
