#include "agent/bittorrent/store_disk.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <cstring>
#include <libtorrent/file_storage.hpp>
#include <libtorrent/operations.hpp>
#include <utility>

#include "core/base/check.h"
#include "core/content/leaf_hash.h"

namespace shoal::agent::bittorrent {
namespace {

namespace errc = boost::system::errc;

// Taken from the queue at once: a result costs a wake-up of the network thread, so several share
// one; what is queued behind a slow read must find another thread.
constexpr std::size_t kBatch = 16;
// Read at once for hashing: enough for every lane of the leaf hasher.
constexpr std::size_t kHashedAtOnce = content::kMaxLeafLanes;

lt::storage_error error_of(errc::errc_t code, lt::operation_t operation) {
  lt::storage_error error;
  error.ec = errc::make_error_code(code);
  error.operation = operation;
  return error;
}

lt::storage_error cancelled() {
  return error_of(errc::operation_canceled, lt::operation_t::file_read);
}

std::uint64_t number(lt::piece_index_t piece) {
  return static_cast<std::uint64_t>(static_cast<int>(piece));
}

lt::sha256_hash to_libtorrent(const content::Hash32& hash) {
  return lt::sha256_hash(reinterpret_cast<const char*>(hash.data()));
}

}  // namespace

StoreDisk::StoreDisk(lt::io_context& network, DiskParts parts, std::size_t threads)
    : network_(network), parts_(std::move(parts)), network_work_(network.get_executor()) {
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { work(); });
    pthread_setname_np(threads_.back().native_handle(), ("bt-disk-" + std::to_string(i)).c_str());
  }
}

StoreDisk::~StoreDisk() { abort(true); }

// --- Torrents
// --------------------------------------------------------------------------------------

lt::storage_holder StoreDisk::new_torrent(const lt::storage_params& params,
                                          const std::shared_ptr<void>&) {
  auto storage = std::make_shared<Storage>();
  std::memcpy(storage->torrent.data(), params.info_hash.data(), storage->torrent.size());
  const lt::file_storage& files = params.files;
  std::vector<TorrentLayout::File> known;
  bool all = true;
  for (lt::file_index_t file : files.file_range()) {
    if (files.pad_file_at(file) || files.file_size(file) == 0) continue;
    content::Hash32 root{};
    std::memcpy(root.data(), files.root(file).data(), root.size());
    std::optional<content::Digest> blob = parts_.blob_of(storage->torrent, root);
    if (!blob) {
      all = false;
      break;
    }
    known.push_back({static_cast<std::uint64_t>(files.file_offset(file)),
                     static_cast<std::uint64_t>(files.file_size(file)), *blob});
  }
  if (all) {
    Result<TorrentLayout> layout =
        TorrentLayout::make(static_cast<std::uint64_t>(files.piece_length()),
                            static_cast<std::uint64_t>(files.total_size()), std::move(known));
    // Otherwise every read fails, as for a torrent that was removed before it began.
    if (layout) storage->layout = std::move(*layout);
  }
  if (unused_.empty()) {
    unused_.push_back(static_cast<std::uint32_t>(storages_.size()));
    storages_.emplace_back();
  }
  const std::uint32_t place = unused_.back();
  unused_.pop_back();
  storages_[place] = std::move(storage);
  return lt::storage_holder(lt::storage_index_t(place), *this);
}

void StoreDisk::remove_torrent(lt::storage_index_t index) {
  // Jobs that run keep it until they have ended.
  storages_[static_cast<std::uint32_t>(index)].reset();
  unused_.push_back(static_cast<std::uint32_t>(index));
}

std::shared_ptr<const StoreDisk::Storage> StoreDisk::storage(lt::storage_index_t index) const {
  const std::shared_ptr<const Storage>& found = storages_[static_cast<std::uint32_t>(index)];
  SHOAL_CHECK(found != nullptr, "a job of a torrent that was removed");
  return found;
}

// --- Jobs
// ------------------------------------------------------------------------------------------

void StoreDisk::async_read(
    lt::storage_index_t index, const lt::peer_request& request,
    std::function<void(lt::disk_buffer_holder, const lt::storage_error&)> handler,
    lt::disk_job_flags_t) {
  add(Read{storage(index), request, std::move(handler), {}, {}});
}

void StoreDisk::async_hash(
    lt::storage_index_t index, lt::piece_index_t piece, lt::span<lt::sha256_hash> leaves,
    lt::disk_job_flags_t flags,
    std::function<void(lt::piece_index_t, const lt::sha1_hash&, const lt::storage_error&)>
        handler) {
  const bool v1 = bool(flags & lt::disk_interface::v1_hash);
  add(Hash{storage(index), piece, leaves, v1, std::move(handler), {}});
}

void StoreDisk::async_hash2(
    lt::storage_index_t index, lt::piece_index_t piece, int offset, lt::disk_job_flags_t,
    std::function<void(lt::piece_index_t, const lt::sha256_hash&, const lt::storage_error&)>
        handler) {
  add(Hash2{storage(index), piece, offset, std::move(handler), {}, {}});
}

void StoreDisk::add(Job job) { fresh_.push_back(std::move(job)); }

void StoreDisk::submit_jobs() {
  if (fresh_.empty()) return;
  bool aborted = false;
  {
    std::lock_guard lock(mutex_);
    aborted = aborted_;
    if (!aborted) std::move(fresh_.begin(), fresh_.end(), std::back_inserter(queue_));
  }
  if (!aborted) {
    const std::size_t count = fresh_.size();
    fresh_.clear();
    for (std::size_t i = 0; i < std::min(count, threads_.size()); ++i) wake_.notify_one();
    return;
  }
  for (Job& job : fresh_) {
    std::visit([](auto& one) { one.error = cancelled(); }, job);
  }
  post(std::exchange(fresh_, {}));
}

void StoreDisk::abort(bool wait) {
  Jobs given_up = std::exchange(fresh_, {});
  {
    std::lock_guard lock(mutex_);
    aborted_ = true;
    std::move(queue_.begin(), queue_.end(), std::back_inserter(given_up));
    queue_.clear();
  }
  give_up_.request_stop();
  stop_.request_stop();
  for (Job& job : given_up) {
    std::visit([](auto& one) { one.error = cancelled(); }, job);
  }
  post(std::move(given_up));
  {
    std::lock_guard lock(mutex_);
    if (running_ == 0) network_work_.reset();
  }
  if (!wait) return;
  for (std::jthread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void StoreDisk::give_up() { give_up_.request_stop(); }

void StoreDisk::work() {
  const std::stop_token stop = stop_.get_token();
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return !queue_.empty(); })) {
    const std::size_t share = queue_.size() / threads_.size();
    const std::size_t count = std::clamp<std::size_t>(share, 1, kBatch);
    Jobs jobs(std::make_move_iterator(queue_.begin()),
              std::make_move_iterator(queue_.begin() + static_cast<std::ptrdiff_t>(count)));
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    ++running_;
    lock.unlock();
    Jobs done;
    for (Job& job : jobs) {
      carry_out(job, done);
      done.push_back(std::move(job));
    }
    post(std::move(done));
    lock.lock();
    --running_;
    if (aborted_ && running_ == 0) network_work_.reset();
  }
}

void StoreDisk::carry_out(Job& job, Jobs& done) {
  if (auto* read = std::get_if<Read>(&job)) {
    carry_out(*read, done);
  } else if (auto* hash = std::get_if<Hash>(&job)) {
    carry_out(*hash);
  } else {
    carry_out(std::get<Hash2>(job));
  }
}

void StoreDisk::carry_out(Read& job, Jobs& done) {
  const Storage& storage = *job.storage;
  const auto length = static_cast<std::uint64_t>(job.request.length);
  auto parts = storage.layout.parts(number(job.request.piece),
                                    static_cast<std::uint64_t>(job.request.start), length);
  if (!parts || length > BufferPool::kBufferSize) {
    job.error = error_of(errc::invalid_argument, lt::operation_t::file_read);
    return;
  }
  if (give_up_.stop_requested() || !wait_for_pace(length, done)) {
    job.error = cancelled();
    return;
  }
  char* memory = parts_.buffers.try_take();
  if (memory == nullptr) {
    // The buffers may be in these, for all we know.
    post(std::exchange(done, {}));
    memory = parts_.buffers.take(give_up_.get_token());
  }
  if (memory == nullptr) {
    job.error = cancelled();
    return;
  }
  lt::disk_buffer_holder buffer(parts_.buffers, memory, job.request.length);
  Status status = read(*parts, std::as_writable_bytes(std::span(memory, length)));
  if (!status) {
    job.error = report(storage, status.error());
    return;
  }
  job.buffer = std::move(buffer);
}

bool StoreDisk::wait_for_pace(std::uint64_t bytes, Jobs& done) {
  if (!parts_.pace) return true;
  const std::stop_token stop = give_up_.get_token();
  while (auto when = parts_.pace(bytes, DiskParts::Clock::now())) {
    post(std::exchange(done, {}));
    std::unique_lock lock(mutex_);
    paced_.wait_until(lock, stop, *when, [] { return false; });
    if (stop.stop_requested()) return false;
  }
  return true;
}

Status StoreDisk::read(const std::vector<TorrentLayout::Part>& parts, std::span<std::byte> out) {
  for (const TorrentLayout::Part& part : parts) {
    std::span<std::byte> here = out.subspan(part.at, part.in_blob.length);
    if (part.blob == nullptr) {
      std::fill(here.begin(), here.end(), std::byte{0});
      continue;
    }
    auto blob = parts_.blobs.use(*part.blob, DiskParts::Clock::now());
    if (!blob) return fail(blob.error());
    if (Status status = (*blob)->read(part.in_blob, here); !status) {
      parts_.blobs.forget(*part.blob);
      return status;
    }
  }
  return {};
}

Status StoreDisk::hash_leaves(const TorrentLayout::Part& bytes, std::span<content::Hash32> out) {
  std::vector<std::byte> buffer(
      std::min<std::uint64_t>(bytes.in_blob.length, kHashedAtOnce * content::kLeafSize));
  std::size_t leaf = 0;
  for (std::uint64_t at = 0; at < bytes.in_blob.length && leaf < out.size();) {
    TorrentLayout::Part some = bytes;
    some.at = 0;
    some.in_blob.offset += at;
    some.in_blob.length = std::min<std::uint64_t>(buffer.size(), bytes.in_blob.length - at);
    std::span<std::byte> data = std::span(buffer).first(some.in_blob.length);
    SHOAL_TRY(read({some}, data));
    const std::size_t count = (data.size() + content::kLeafSize - 1) / content::kLeafSize;
    content::hash_leaves(data, out.subspan(leaf, count));
    leaf += count;
    at += data.size();
  }
  return {};
}

void StoreDisk::carry_out(Hash& job) {
  auto part = job.storage->layout.of_piece(number(job.piece));
  const std::size_t count =
      part ? (part->in_blob.length + content::kLeafSize - 1) / content::kLeafSize : 0;
  // There are no v1 torrents of models (ADR 0007).
  if (!part || job.v1 || static_cast<std::size_t>(job.leaves.size()) < count) {
    job.error = error_of(errc::invalid_argument, lt::operation_t::file_read);
    return;
  }
  std::vector<content::Hash32> hashes(count);
  if (Status status = hash_leaves(*part, hashes); !status) {
    job.error = report(*job.storage, status.error());
    return;
  }
  std::transform(hashes.begin(), hashes.end(), job.leaves.begin(), to_libtorrent);
}

void StoreDisk::carry_out(Hash2& job) {
  auto part = job.storage->layout.of_piece(number(job.piece));
  const auto offset = static_cast<std::uint64_t>(job.offset);
  if (!part || job.offset < 0 || offset % content::kLeafSize != 0 ||
      offset >= part->in_blob.length) {
    job.error = error_of(errc::invalid_argument, lt::operation_t::file_read);
    return;
  }
  part->in_blob.offset += offset;
  part->in_blob.length = std::min(content::kLeafSize, part->in_blob.length - offset);
  content::Hash32 hash{};
  if (Status status = hash_leaves(*part, std::span(&hash, 1)); !status) {
    job.error = report(*job.storage, status.error());
    return;
  }
  job.hash = to_libtorrent(hash);
}

lt::storage_error StoreDisk::report(const Storage& storage, const Error& error) {
  parts_.failed(storage.torrent, error);
  return error_of(errc::no_such_file_or_directory, lt::operation_t::file_read);
}

void StoreDisk::post(Jobs jobs) {
  if (jobs.empty()) return;
  boost::asio::post(network_, [jobs = std::move(jobs)]() mutable {
    for (Job& job : jobs) deliver(job);
  });
}

void StoreDisk::deliver(Job& job) {
  if (auto* read = std::get_if<Read>(&job)) {
    read->handler(std::move(read->buffer), read->error);
  } else if (auto* hash = std::get_if<Hash>(&job)) {
    hash->handler(hash->piece, lt::sha1_hash(), hash->error);
  } else {
    auto& hash2 = std::get<Hash2>(job);
    hash2.handler(hash2.piece, hash2.hash, hash2.error);
  }
}

// --- What there is nothing to do for
// ---------------------------------------------------------------

bool StoreDisk::async_write(lt::storage_index_t, const lt::peer_request&, const char*,
                            std::shared_ptr<lt::disk_observer>,
                            std::function<void(const lt::storage_error&)> handler,
                            lt::disk_job_flags_t) {
  boost::asio::post(network_, [handler = std::move(handler)] {
    handler(error_of(errc::read_only_file_system, lt::operation_t::file_write));
  });
  return false;
}

void StoreDisk::async_move_storage(
    lt::storage_index_t, std::string path, lt::move_flags_t,
    std::function<void(lt::status_t, const std::string&, const lt::storage_error&)> handler) {
  boost::asio::post(network_, [path = std::move(path), handler = std::move(handler)] {
    handler(lt::status_t::fatal_disk_error, path,
            error_of(errc::read_only_file_system, lt::operation_t::file_rename));
  });
}

void StoreDisk::async_rename_file(
    lt::storage_index_t, lt::file_index_t file, std::string name,
    std::function<void(const std::string&, lt::file_index_t, const lt::storage_error&)> handler) {
  boost::asio::post(network_, [file, name = std::move(name), handler = std::move(handler)] {
    handler(name, file, error_of(errc::read_only_file_system, lt::operation_t::file_rename));
  });
}

void StoreDisk::async_delete_files(lt::storage_index_t, lt::remove_flags_t,
                                   std::function<void(const lt::storage_error&)> handler) {
  boost::asio::post(network_, [handler = std::move(handler)] {
    handler(error_of(errc::read_only_file_system, lt::operation_t::file_remove));
  });
}

void StoreDisk::async_check_files(
    lt::storage_index_t index, const lt::add_torrent_params*,
    lt::aux::vector<std::string, lt::file_index_t>,
    std::function<void(lt::status_t, const lt::storage_error&)> handler) {
  const bool known = !storage(index)->layout.files().empty();
  boost::asio::post(network_, [known, handler = std::move(handler)] {
    if (known) {
      handler(lt::status_t::no_error, {});
    } else {
      handler(lt::status_t::fatal_disk_error,
              error_of(errc::no_such_file_or_directory, lt::operation_t::check_resume));
    }
  });
}

void StoreDisk::async_release_files(lt::storage_index_t, std::function<void()> handler) {
  if (handler) boost::asio::post(network_, std::move(handler));
}

void StoreDisk::async_stop_torrent(lt::storage_index_t, std::function<void()> handler) {
  if (handler) boost::asio::post(network_, std::move(handler));
}

void StoreDisk::async_set_file_priority(
    lt::storage_index_t, lt::aux::vector<lt::download_priority_t, lt::file_index_t> priorities,
    std::function<void(const lt::storage_error&,
                       lt::aux::vector<lt::download_priority_t, lt::file_index_t>)>
        handler) {
  boost::asio::post(network_,
                    [priorities = std::move(priorities), handler = std::move(handler)]() mutable {
                      handler({}, std::move(priorities));
                    });
}

void StoreDisk::async_clear_piece(lt::storage_index_t, lt::piece_index_t piece,
                                  std::function<void(lt::piece_index_t)> handler) {
  boost::asio::post(network_, [piece, handler = std::move(handler)] { handler(piece); });
}

}  // namespace shoal::agent::bittorrent
