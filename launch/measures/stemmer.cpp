#include "launch/measures/stemmer.h"

#include <new>

#include <libstemmer.h>

namespace palimpsest {

// The algorithm is in every build of the library.
PorterStemmer::PorterStemmer() : stemmer_(sb_stemmer_new("porter", nullptr)) {
  if (!stemmer_) throw std::bad_alloc();
}

std::string PorterStemmer::stem(const std::string& word) const {
  const sb_symbol* stem =
      sb_stemmer_stem(stemmer_.get(), reinterpret_cast<const sb_symbol*>(word.data()), static_cast<int>(word.size()));
  if (stem == nullptr) throw std::bad_alloc();
  return {reinterpret_cast<const char*>(stem), static_cast<std::size_t>(sb_stemmer_length(stemmer_.get()))};
}

void PorterStemmer::Deleter::operator()(sb_stemmer* stemmer) const { sb_stemmer_delete(stemmer); }

}  // namespace palimpsest
