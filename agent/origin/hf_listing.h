// The Hugging Face Hub's names and documents. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"

namespace shoal::agent {

// "hf://org/repo[@revision][/path]", also "hf://datasets/org/repo…" and "hf://spaces/org/repo…".
// In a revision a slash is written %2F ("refs%2Fpr%2F1").
struct HfPlace {
  std::string type = "models";  // "models", "datasets" or "spaces"
  std::string repo;             // "org/repo", or "repo" of old models without an organisation
  std::string revision = "main";
  std::string path;  // decoded; empty: the whole repository

  std::string str() const;
  friend bool operator==(const HfPlace&, const HfPlace&) = default;
};
// Errors: invalid.
Result<HfPlace> parse_hf_url(std::string_view url);

// Of the Hub at `endpoint`, without a slash at its end.
std::string hf_revision_url(const std::string& endpoint, const HfPlace& place);
std::string hf_tree_url(const std::string& endpoint, const HfPlace& place);
std::string hf_file_url(const std::string& endpoint, const HfPlace& place);

// GET …/revision/R: the commit's 40 hex digits. Errors: invalid.
Result<std::string> parse_hf_revision(std::string_view json);

struct HfFile {
  std::string path;
  std::uint64_t size = 0;
  std::string oid;  // what its ETag is: SHA-256 of LFS files, else git's SHA-1
  std::optional<content::Digest> digest;  // of LFS files
};

inline constexpr std::size_t kMaxHfPage = 16 * 1024 * 1024;

// One page of GET …/tree/R?recursive=true: its files. Errors: invalid.
Result<std::vector<HfFile>> parse_hf_tree(std::string_view json);

// The URL that a Link header calls rel="next" (RFC 8288); empty if there is none.
std::string next_link(std::string_view header);

}  // namespace shoal::agent
