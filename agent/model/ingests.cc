#include "agent/model/ingests.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>
#include <vector>

#include "core/base/check.h"
#include "core/base/random.h"
#include "core/content/piece_hasher.h"

namespace shoal::agent {
namespace {

constexpr std::size_t kReadSize = 1 << 20;
constexpr std::size_t kQueueLimit = 65'536;
// Each costs two descriptors.
constexpr std::size_t kMaxLeases = 1'024;
constexpr int kRoomTries = 2;
// Of an origin that does not answer: about a minute.
constexpr RetryPolicy kOriginRetry{.first = std::chrono::milliseconds(500), .attempts = 9};
constexpr std::chrono::milliseconds kRoomPause{1'500};
// Until another file with the same bytes is stored: ten minutes at most.
constexpr int kSameTries = 12'000;
constexpr std::chrono::milliseconds kSamePause{50};

Error changed_error() {
  return {Errc::kConflict,
          "the file changed while it was read: publish it when nothing writes to it"};
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

Ingests::Ingests(Executor executor, store::BlobStore& store, std::size_t threads,
                 std::function<void(const store::Blob&)> stored,
                 std::function<void(const content::Digest&)> unwanted)
    : executor_(executor),
      store_(store),
      stored_(std::move(stored)),
      unwanted_(std::move(unwanted)),
      tasks_(executor, "ingests"),
      ended_(executor),
      pool_("ingest", threads, kQueueLimit) {}

Ingests::~Ingests() = default;

std::string Ingests::start(UniqueFd file, IngestMode mode, std::string path) {
  auto job = std::make_shared<Job>();
  job->file = std::move(file);
  job->mode = mode;
  job->path = std::move(path);
  struct stat info {};
  if (::fstat(job->file.get(), &info) == 0) job->size = static_cast<std::uint64_t>(info.st_size);
  return begin(std::move(job));
}

std::string Ingests::start(RemoteFile file) {
  auto job = std::make_shared<Job>();
  job->mode = IngestMode::kHash;
  job->size = file.file.size;
  job->remote = std::move(file);
  return begin(std::move(job));
}

std::string Ingests::begin(std::shared_ptr<Job> job) {
  drop_old();
  std::string id = random_hex(8);
  jobs_[id] = job;
  tasks_.spawn("ingest " + id, run(job), [job] { job->cancel = true; });
  return id;
}

bool Ingests::cancel(const std::string& id) {
  auto it = jobs_.find(id);
  if (it == jobs_.end()) return false;
  std::shared_ptr<Job> job = it->second;
  job->cancel = true;
  if (job->ended) {
    jobs_.erase(it);
    take_back(*job);
  }
  settle_cancelled();
  return true;
}

// What a cancelled job has brought into the store leaves it, unless another publication counts on
// the same bytes.
void Ingests::take_back(Job& job) {
  job.lease.reset();
  if (std::exchange(job.brought, false)) cancelled_.push_back(job.table->digest());
}

// The jobs of one publication are cancelled one after the other: while some of them still read,
// nobody can tell what they will count on. So this follows whatever ends or is cancelled. Who
// counts on them has brought them from now on.
void Ingests::settle_cancelled() {
  const bool reading = std::any_of(jobs_.begin(), jobs_.end(), [](const auto& entry) {
    return !entry.second->ended && !entry.second->cancel;
  });
  for (const content::Digest& digest : std::exchange(cancelled_, {})) {
    auto user = std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
      const Job& job = *entry.second;
      return !job.cancel && job.table && job.table->digest() == digest && job.how != "hash";
    });
    if (user != jobs_.end()) {
      user->second->brought = true;
    } else if (reading) {
      cancelled_.push_back(digest);
    } else {
      unwanted_(digest);
    }
  }
}

Task<void> Ingests::run(std::shared_ptr<Job> job) {
  auto reading = [this, job] { return work(*job); };
  Result<Outcome> outcome = co_await pool_.run(reading);
  job->file.reset();
  job->ended = true;
  job->ended_at = std::chrono::steady_clock::now();
  if (outcome) {
    job->table = std::move(outcome->table);
    job->how = std::move(outcome->how);
    job->brought = job->how != "present" && job->how != "hash";
    job->lease = std::move(outcome->lease);
    if (outcome->blob) stored_(*outcome->blob);
  } else {
    job->error = outcome.error();
  }
  if (job->cancel) take_back(*job);
  settle_cancelled();
  ended_.notify_all();
}

// One pass for the names of everything; on an ingest thread.
Result<content::PieceTable> Ingests::hash(Job& job) const {
  Result<content::BlobLayout> layout = content::BlobLayout::of_size(job.size);
  if (!layout) return fail(layout.error());
  content::BlobHasher hasher(*layout);
  std::vector<std::byte> buffer(
      std::min<std::uint64_t>(kReadSize, std::max<std::uint64_t>(job.size, 1)));
  (void)::posix_fadvise(job.file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  for (std::uint64_t offset = 0;;) {
    if (job.cancel) return fail(Errc::kCancelled, "cancelled");
    ssize_t got = ::pread(job.file.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error("reading the file", errno));
    if (got == 0) break;
    if (!hasher.update(std::span(buffer).first(static_cast<std::size_t>(got)))) {
      return fail(changed_error());
    }
    offset += static_cast<std::uint64_t>(got);
    job.done = offset;
  }
  Result<content::BlobHashes> hashes = hasher.finish();
  if (!hashes) return fail(changed_error());
  return content::PieceTable::make(std::move(*hashes));
}

// The same for a file of an origin.
Result<content::PieceTable> Ingests::fetch(Job& job) const {
  const OriginFile& file = job.remote->file;
  Result<content::BlobLayout> layout = content::BlobLayout::of_size(file.size);
  if (!layout) return fail(layout.error());
  content::BlobHasher hasher(*layout);
  OriginSink take = [&](std::span<const std::byte> bytes) -> Status {
    if (!hasher.update(bytes)) return fail(Errc::kInternal, "more bytes than the file has");
    job.done += bytes.size();
    return {};
  };
  SHOAL_TRY(agent::read_whole(*job.remote->origin, file, kOriginRetry, take, job.cancel));
  Result<content::BlobHashes> hashes = hasher.finish();
  if (!hashes) return fail(Errc::kInternal, "fewer bytes than the file has");
  content::PieceTable table = content::PieceTable::make(std::move(*hashes));
  if (job.remote->digest && table.digest() != *job.remote->digest) {
    return fail(Errc::kCorrupt, file.url + " is declared to be " + job.remote->digest->str() +
                                    ", but its bytes are " + table.digest().str());
  }
  return table;
}

void Ingests::published(const content::Digest& blob) {
  std::size_t left = 0;
  for (const auto& [id, job] : jobs_) {
    if (job->table && job->table->digest() == blob) job->lease.reset();
    left += job->lease ? 1 : 0;
  }
  leases_ = left;
}

Result<Ingests::Outcome> Ingests::work(Job& job) {
  Result<Outcome> outcome = bring(job);
  if (outcome && outcome->blob && !outcome->blob->in_place() && leases_ < kMaxLeases) {
    if (auto lease = outcome->blob->open_reader()) {
      ++leases_;
      outcome->lease = std::move(*lease);
    }
  }
  return outcome;
}

Result<Ingests::Outcome> Ingests::bring_remote(Job& job) {
  const std::optional<content::Digest>& declared = job.remote->digest;
  if (declared) {
    Result<store::BlobInfo> info = store_.info(*declared);
    auto blob = store_.find(*declared);
    if (info && blob && info->complete && !info->failed) {
      job.done = job.size;
      return Outcome{(*blob)->table(), *blob, "present", std::nullopt};
    }
  }
  Result<content::PieceTable> table = fetch(job);
  if (!table) return fail(table.error());
  return Outcome{std::move(*table), nullptr, "hash", std::nullopt};
}

Result<Ingests::Outcome> Ingests::bring(Job& job) {
  if (job.remote) return bring_remote(job);
  struct stat before {};
  if (::fstat(job.file.get(), &before) != 0) return fail(errno_error("fstat", errno));
  if (!S_ISREG(before.st_mode)) return fail(Errc::kInvalid, "not a regular file");
  Result<content::PieceTable> table = hash(job);
  if (!table) return fail(table.error());
  struct stat after {};
  if (::fstat(job.file.get(), &after) != 0) return fail(errno_error("fstat", errno));
  if (!same_file(before, after)) return fail(changed_error());
  Outcome outcome{std::move(*table), nullptr, "", std::nullopt};
  if (job.mode == IngestMode::kInPlace) {
    struct stat named {};
    if (::lstat(job.path.c_str(), &named) != 0) return fail(errno_error(job.path, errno));
    if (!same_file(named, before)) {
      return fail(Errc::kConflict,
                  job.path + " is not the file that was given: the agent must see it at that path");
    }
    store::InPlaceSource source{
        job.path, job.size,
        std::int64_t{before.st_mtim.tv_sec} * 1'000'000'000 + before.st_mtim.tv_nsec,
        before.st_ino};
    auto blob = store_.add_in_place(outcome.table, source);
    if (!blob) return fail(blob.error());
    outcome.blob = *blob;
    outcome.how = (*blob)->in_place() ? "in-place" : "present";
    return outcome;
  }
  return store_file(job, std::move(outcome));
}

// What is in job.file, whose table is known, as the mode says.
Result<Ingests::Outcome> Ingests::store_file(Job& job, Outcome outcome) {
  const content::Digest digest = outcome.table.digest();
  if (job.mode == IngestMode::kHash) {
    outcome.how = "hash";
    return outcome;
  }
  store::ImportOptions options;
  options.cancel = &job.cancel;
  int no_room = 0;
  for (int i = 0;; ++i) {
    Result<store::BlobInfo> info = store_.info(digest);
    auto blob = store_.find(digest);
    if (info && blob && info->complete && !info->failed) {
      outcome.blob = *blob;
      outcome.how = "present";
      return outcome;
    }
    auto imported = store_.import(outcome.table, job.file.get(), options);
    if (imported) {
      outcome.blob = imported->blob;
      outcome.how = imported->reflinked ? "reflink" : "copy";
      return outcome;
    }
    const Error& why = imported.error();
    if (why.code() == Errc::kCorrupt) return fail(changed_error());
    // A file with the same bytes is being stored at this moment.
    const bool in_the_making = why.code() == Errc::kConflict && i < kSameTries;
    // Space that an eviction gives comes a moment later, when nobody here has the file open any
    // more.
    const bool room_may_come = why.code() == Errc::kNoSpace && no_room++ < kRoomTries;
    if (job.cancel || !(in_the_making || room_may_come)) return fail(why);
    if (!sleep_unless(in_the_making ? kSamePause : kRoomPause, job.cancel)) return fail(why);
  }
}

Task<Result<IngestView>> Ingests::wait(std::string id, Deadline deadline) {
  for (;;) {
    auto it = jobs_.find(id);
    if (it == jobs_.end()) co_return fail(Errc::kNotFound, "no ingest with the id " + id);
    const Job& job = *it->second;
    if (job.ended || deadline.expired()) {
      IngestView view;
      view.running = !job.ended;
      view.bytes_done = job.done;
      view.bytes_total = job.size;
      view.error = job.error;
      view.table = job.table;
      view.how = job.how;
      co_return view;
    }
    Status woken = co_await ended_.wait(deadline);
    if (!woken && woken.error().code() == Errc::kCancelled) co_return fail(woken.error());
  }
}

bool Ingests::read_whole(const content::Digest& blob) const {
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    const Job& job = *entry.second;
    // What an origin declared and the store had was not read again.
    const bool read = !job.remote || job.how != "present";
    return read && job.table && job.table->digest() == blob;
  });
}

Result<content::PieceTable> Ingests::table(const content::Digest& blob) const {
  for (const auto& [id, job] : jobs_) {
    if (job->table && job->table->digest() == blob) return *job->table;
  }
  auto found = store_.find(blob);
  if (!found) return fail(found.error());
  if (!(*found)->settled()) return fail(Errc::kNotFound, blob.str() + " has no piece table yet");
  return (*found)->table();
}

void Ingests::drop_old() {
  auto now = std::chrono::steady_clock::now();
  std::erase_if(jobs_, [&](const auto& entry) {
    return entry.second->ended && now - entry.second->ended_at > kKept;
  });
}

Task<void> Ingests::stop() {
  ended_.close();
  co_await tasks_.stop();
  pool_.stop();
}

}  // namespace shoal::agent
