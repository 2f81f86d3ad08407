// Texts that are evaluated as they are, without being packed first.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/text/tokenizer.h"
#include "data/tokens/token_file.h"

namespace palimpsest {

/// The documents of text files, and of all *.txt files in and below folders, in the order of the paths and by name in a
/// folder. Each is named by the path of its file, as given. They lie in a token file in the folder for temporary files
/// (environment variable TMPDIR, else /tmp), of which nothing but what this holds is left. Throws DataError on a file
/// that gives no document, naming all of them, on a file named twice and on a folder without texts; FileError and
/// WriteError when something cannot be read or written.
std::unique_ptr<TokenFile> read_text_documents(const std::vector<std::string>& paths, const Tokenizer& tokenizer);

}  // namespace palimpsest
