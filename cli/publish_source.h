// What `shoal publish` publishes: files of this machine, or of an origin that the agent reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/source_tree.h"
#include "core/agent_client/client.h"
#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/content/relative_path.h"

namespace shoal::cli {

class PublishSource {
 public:
  struct File {
    content::RelativePath path;
    std::uint64_t size = 0;
    std::string url = {};      // at its origin; empty: it has none
    std::string version = {};  // which is read there; empty: the origin tells none
  };
  // The agent's job that reads one file.
  struct Job {
    std::string id;
    UniqueFd fd;  // the file, where it is one of this machine
  };

  virtual ~PublishSource() = default;

  // Ascending by path.
  const std::vector<File>& files() const { return files_; }
  std::uint64_t total_size() const;

  // Errors: those of the agent's calls; conflict if the file is no longer the one that was found.
  virtual Result<Job> start(agent_client::Client& agent, agent_client::IngestMode mode,
                            std::size_t file) const = 0;
  // Whether the file that was read is the one that was found. Errors: conflict, naming it.
  virtual Status check(std::size_t file, const Job& job) const = 0;

 protected:
  std::vector<File> files_;
};

// "s3://…", "hf://…", "dir:…" and so on, in contrast to a folder of this machine.
bool is_remote_source(std::string_view text);

std::unique_ptr<PublishSource> local_source(SourceTree tree);

// Errors: invalid (a name that a model cannot have, or two that cannot coexist).
Result<std::unique_ptr<PublishSource>> remote_source(std::vector<agent_client::OriginFile> files);

}  // namespace shoal::cli
