// Words without their endings: Porter's stemmer ("An algorithm for suffix stripping", Program 14(3), 1980), from the
// Snowball library.
#pragma once

#include <memory>
#include <string>

struct sb_stemmer;

namespace palimpsest {

class PorterStemmer {
 public:
  PorterStemmer();
  /// "running" -> "run". The word is in lower case.
  std::string stem(const std::string& word) const;

 private:
  struct Deleter {
    void operator()(sb_stemmer* stemmer) const;
  };
  std::unique_ptr<sb_stemmer, Deleter> stemmer_;
};

}  // namespace palimpsest
