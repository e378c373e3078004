#include "agent/origin/origin.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "agent/origin/text.h"
#include "core/base/random.h"
#include "core/content/manifest.h"

namespace shoal::agent {
namespace {

// What one request of a whole read asks for.
constexpr std::uint64_t kWholeRange = 64 * kMiB;
constexpr std::chrono::milliseconds kNotice{100};

}  // namespace

std::string_view scheme_of(std::string_view url) {
  auto colon = url.find(':');
  return colon == std::string_view::npos ? std::string_view() : url.substr(0, colon);
}

bool OriginQuery::wants(std::string_view path) const {
  auto matches = [&](const std::string& pattern) { return matches_glob(pattern, path); };
  const bool included = include.empty() || std::any_of(include.begin(), include.end(), matches);
  return included && std::none_of(exclude.begin(), exclude.end(), matches);
}

Status OriginListing::add(const OriginQuery& query, std::string_view name, OriginFile file,
                          std::optional<content::Digest> digest) {
  if (!query.wants(name)) return {};
  Result<content::RelativePath> path = content::RelativePath::parse(name);
  if (!path) {
    return fail(
        path.error().with_context("this cannot be a file's name: leave it out with "
                                  "--exclude"));
  }
  if (files.size() == content::kMaxModelFiles) {
    return fail(Errc::kInvalid, "more than " + std::to_string(content::kMaxModelFiles) +
                                    " files in " + query.source);
  }
  files.push_back({std::move(*path), std::move(file), std::move(digest)});
  return {};
}

Status OriginListing::finish() {
  if (files.empty()) return fail(Errc::kNotFound, "no file that is wanted in " + source);
  std::sort(files.begin(), files.end(),
            [](const OriginEntry& a, const OriginEntry& b) { return a.path < b.path; });
  return {};
}

bool sleep_unless(std::chrono::milliseconds pause, const CancelFlag& cancel) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + pause;
  while (!cancel.load(std::memory_order_relaxed)) {
    const auto now = Clock::now();
    if (now >= end) return true;
    std::this_thread::sleep_for(std::min<Clock::duration>(end - now, kNotice));
  }
  return false;
}

Status read_whole(Origin& origin, const OriginFile& file, const RetryPolicy& retry,
                  const OriginSink& sink, const CancelFlag& cancel) {
  Backoff backoff(retry, random_u64());
  std::uint64_t done = 0;
  OriginSink count = [&](std::span<const std::byte> bytes) -> Status {
    SHOAL_TRY(sink(bytes));
    done += bytes.size();
    return {};
  };
  while (done < file.size) {
    const std::uint64_t before = done;
    const std::uint64_t most = file.version.empty() ? file.size : kWholeRange;
    ByteRange range{done, std::min(most, file.size - done)};
    OriginStatus read = origin.read(file, range, count, cancel);
    if (read.status) continue;
    if (done != before) backoff.reset();
    if (done != 0 && file.version.empty()) {
      return fail(read.status.error().with_context(
          "the origin tells no version of " + file.url +
          ", so that it cannot be read on after a break: try again"));
    }
    if (!worth_retrying(read.status.error().code())) return read.status;
    std::optional<std::chrono::milliseconds> pause = backoff.next(read.retry_after);
    if (!pause) return read.status;
    if (!sleep_unless(*pause, cancel)) return fail(Errc::kCancelled, "read cancelled");
  }
  return {};
}

}  // namespace shoal::agent
