#include "cli/publish_source.h"

#include <algorithm>
#include <utility>

namespace shoal::cli {
namespace {

class LocalSource final : public PublishSource {
 public:
  explicit LocalSource(SourceTree tree) : tree_(std::move(tree)) {
    for (const SourceFile& file : tree_.files()) {
      files_.push_back({file.path, file.stamp.size});
    }
  }

  Result<Job> start(agent_client::Client& agent, agent_client::IngestMode mode,
                    std::size_t file) const override {
    Result<OpenedFile> opened = tree_.open(tree_.files()[file]);
    if (!opened) return fail(opened.error());
    Result<std::string> id = agent.start_ingest(opened->fd.get(), mode, opened->real_path);
    if (!id) return fail(id.error());
    return Job{std::move(*id), std::move(opened->fd)};
  }
  Status check(std::size_t file, const Job& job) const override {
    return SourceTree::check_unchanged(tree_.files()[file], job.fd.get());
  }

 private:
  const SourceTree tree_;
};

class RemoteSource final : public PublishSource {
 public:
  void add(content::RelativePath path, agent_client::OriginFile file) {
    files_.push_back({std::move(path), file.size, file.url, file.version});
    remote_.push_back(std::move(file));
  }

  // Only hashed: what is to be kept is published by the agent as a whole.
  Result<Job> start(agent_client::Client& agent, agent_client::IngestMode,
                    std::size_t file) const override {
    Result<std::string> id = agent.start_ingest(remote_[file]);
    if (!id) return fail(id.error());
    return Job{std::move(*id), UniqueFd()};
  }
  // The agent pins the version that was listed.
  Status check(std::size_t, const Job&) const override { return {}; }

 private:
  std::vector<agent_client::OriginFile> remote_;
};

}  // namespace

std::uint64_t PublishSource::total_size() const {
  std::uint64_t total = 0;
  for (const File& file : files_) total += file.size;
  return total;
}

bool is_remote_source(std::string_view text) {
  constexpr std::string_view kSchemes[] = {"http://", "https://", "s3://", "hf://",
                                           "oci://",  "file://",  "dir:"};
  return std::any_of(std::begin(kSchemes), std::end(kSchemes),
                     [&](std::string_view scheme) { return text.starts_with(scheme); });
}

std::unique_ptr<PublishSource> local_source(SourceTree tree) {
  return std::make_unique<LocalSource>(std::move(tree));
}

Result<std::unique_ptr<PublishSource>> remote_source(std::vector<agent_client::OriginFile> files) {
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  auto source = std::make_unique<RemoteSource>();
  std::vector<content::RelativePath> paths;
  for (agent_client::OriginFile& file : files) {
    Result<content::RelativePath> path = content::RelativePath::parse(file.path);
    if (!path) return fail(path.error());
    paths.push_back(*path);
    source->add(std::move(*path), std::move(file));
  }
  SHOAL_TRY(content::check_paths_coexist(paths));
  return source;
}

}  // namespace shoal::cli
