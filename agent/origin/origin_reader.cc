#include "agent/origin/origin_reader.h"

#include <algorithm>
#include <utility>

#include "agent/lane/range_receiver.h"
#include "core/base/check.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;
using swarm::Outcome;

constexpr std::size_t kQueueLimit = 4096;
constexpr milliseconds kActiveInterval{250};

Outcome outcome_of(Errc code) {
  switch (code) {
    case Errc::kNotFound:
      return Outcome::kNotHave;
    case Errc::kTimedOut:
      return Outcome::kTimeout;
    case Errc::kOverloaded:
      return Outcome::kBusy;
    case Errc::kUnavailable:
      return Outcome::kDisconnected;
    case Errc::kCorrupt:
      return Outcome::kCorrupt;
    case Errc::kInvalid:
      return Outcome::kRefused;
    case Errc::kDenied:
      return Outcome::kRefused;
    case Errc::kConflict:
      return Outcome::kChanged;
    case Errc::kNoSpace:
      return Outcome::kLocal;
    case Errc::kCancelled:
      return Outcome::kCancelled;
    case Errc::kInternal:
      return Outcome::kLocal;
  }
  return Outcome::kLocal;
}

}  // namespace

std::string changed_text(std::string_view found) {
  return "the origin changed since it was published: publish it again, or put back what was there "
         "(" +
         std::string(found) + ")";
}

OriginReader::OriginReader(Executor control, Find find, std::size_t threads, Report report)
    : find_(std::move(find)),
      report_(std::move(report)),
      tasks_(control, "origin-reader"),
      pool_("origin", threads, kQueueLimit) {}

OriginReader::~OriginReader() = default;

bool OriginReader::can_read(const std::string& url) const { return find_(url) != nullptr; }

bool OriginReader::expect(const store::Blob& blob, const std::string& url,
                          const std::string& published) {
  if (published.empty()) return false;
  std::lock_guard lock(mutex_);
  Known& known = files_[{blob.digest(), url}];
  if (known.published == published) return false;
  known = {published, OriginFile{url, blob.layout().size(), published}};
  return true;
}

void OriginReader::fetch(Transfer transfer, std::string url) {
  auto cancel = std::make_shared<CancelFlag>(false);
  swarm::RequestId id = transfer.id;
  running_[id] = cancel;
  // As it is now: a transfer that waits for a thread while a change is found must not take what it
  // then finds.
  Known known;
  {
    std::lock_guard lock(mutex_);
    if (auto it = files_.find({transfer.blob->digest(), url}); it != files_.end()) {
      known = it->second;
    }
  }
  tasks_.spawn("read", run(std::move(transfer), std::move(url), std::move(known), cancel),
               [cancel] { cancel->store(true); });
}

void OriginReader::cancel(swarm::RequestId id) {
  if (auto it = running_.find(id); it != running_.end()) it->second->store(true);
}

Task<void> OriginReader::run(Transfer transfer, std::string url, Known known,
                             std::shared_ptr<CancelFlag> cancel) {
  swarm::RequestId id = transfer.id;
  auto job = [this, transfer = std::move(transfer), url, known = std::move(known), cancel]() {
    return read(transfer, url, known, *cancel);
  };
  Result<TransferEvent> ended = co_await pool_.run(job);
  running_.erase(id);
  TransferEvent event;
  if (ended) {
    event = std::move(*ended);
  } else {
    event.outcome = outcome_of(ended.error().code());
    event.detail = ended.error().str();
  }
  event.id = id;
  report_(std::move(event));
}

OriginStatus OriginReader::pin(Origin& origin, const store::Blob& blob, const std::string& url,
                               Known& known, const CancelFlag& cancel) {
  const std::uint64_t size = blob.layout().size();
  {
    std::lock_guard lock(mutex_);
    if (auto it = files_.find({blob.digest(), url}); it != files_.end()) known = it->second;
    if (known.file) return {};
  }
  OriginFile file;
  OriginStatus probed = origin.probe(url, file, cancel);
  if (!probed.status) return probed;
  if (file.size != size) {
    return {fail(Errc::kConflict, "the file at " + url + " has " + std::to_string(file.size) +
                                      " bytes, the blob " + std::to_string(size)),
            {}};
  }
  std::lock_guard lock(mutex_);
  Known& shared = files_[{blob.digest(), url}];
  if (!shared.file) shared.file = std::move(file);  // else another was first
  known = shared;
  return {};
}

TransferEvent OriginReader::read(const Transfer& transfer, const std::string& url, Known known,
                                 const CancelFlag& cancel) {
  TransferEvent ended;
  auto end_with = [&](const OriginStatus& result) {
    const Error& why = result.status.error();
    ended.outcome = outcome_of(why.code());
    ended.retry_after = result.retry_after;
    // Of a version that was published wrong bytes are no change.
    const bool other = known.file && known.file->version != known.published;
    const bool changed = why.code() == Errc::kConflict ||
                         (why.code() == Errc::kCorrupt && other && !known.published.empty());
    ended.detail = changed ? changed_text(why.message()) : why.str();
    return ended;
  };
  Origin* origin = find_(url);
  SHOAL_CHECK(origin != nullptr, "no origin for " + url);
  if (!known.file) {
    OriginStatus pinned = pin(*origin, *transfer.blob, url, known, cancel);
    if (!pinned.status) return end_with(pinned);
  }

  ReceiveBuffer memory;
  RangeReceiver receiver(transfer.blob, transfer.pieces, memory, RangeReceiver::Source::kOrigin);
  auto last_report = std::chrono::steady_clock::now();
  // Or, with no pieces, that bytes arrive.
  auto tell = [&](content::PieceRange pieces) {
    TransferEvent event;
    event.id = transfer.id;
    event.kind = pieces.empty() ? TransferEvent::Kind::kActive : TransferEvent::Kind::kVerified;
    event.pieces = pieces;
    report_(std::move(event));
  };
  auto take = [&](std::span<const std::byte> bytes) -> Status {
    while (!bytes.empty()) {
      std::span<std::byte> space = receiver.space();
      std::size_t count = std::min(space.size(), bytes.size());
      std::copy_n(bytes.begin(), count, space.begin());
      bytes = bytes.subspan(count);
      content::PieceIndex first = receiver.verified().end();
      receiver.filled(count);
      auto verified = receiver.commit();
      if (!verified) {
        content::PieceRange good{first, receiver.verified().end() - first};
        if (!good.empty()) tell(good);
        // What the store could not do is not the origin's change, whatever its code says.
        bool bad_bytes = verified.error().code() == Errc::kCorrupt;
        return fail(bad_bytes ? Errc::kCorrupt : Errc::kInternal, verified.error().message());
      }
      auto now = std::chrono::steady_clock::now();
      if (verified->empty() && now - last_report < kActiveInterval) continue;
      last_report = now;
      tell(*verified);
    }
    return {};
  };
  ByteRange range = transfer.blob->layout().range_of(transfer.pieces);
  OriginStatus result = origin->read(*known.file, range, take, cancel);
  if (!result.status) return end_with(result);
  ended.outcome = Outcome::kFinished;
  return ended;
}

std::optional<std::string> OriginReader::version(const content::Digest& blob,
                                                 const std::string& url) const {
  std::lock_guard lock(mutex_);
  auto it = files_.find({blob, url});
  if (it == files_.end() || !it->second.file) return std::nullopt;
  return it->second.file->version;
}

void OriginReader::forget(const content::Digest& blob, const std::string& url) {
  std::lock_guard lock(mutex_);
  auto it = files_.find({blob, url});
  if (it == files_.end()) return;
  if (it->second.published.empty()) {
    files_.erase(it);
  } else {
    it->second.file.reset();
  }
}

Task<void> OriginReader::stop() {
  co_await tasks_.stop();
  pool_.stop();
}

}  // namespace shoal::agent
