// The disk of a libtorrent session, which is the node's store: what a torrent calls its files are
// blobs. Reads verified bytes only, so nothing is hashed before it is sent; writes nothing: a
// session on it seeds. (Bytes that a peer sent may enter the store through Blob::commit alone,
// which verifies them; that is where async_write would lead.)
//
// libtorrent calls it on its network thread, where it only notes down what to do. Its own threads
// read, into buffers of the pool that libtorrent sends from without another copy, and post the
// results back, many at once.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <libtorrent/disk_interface.hpp>
#include <libtorrent/error_code.hpp>
#include <libtorrent/io_context.hpp>
#include <libtorrent/peer_request.hpp>
#include <libtorrent/storage_defs.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "agent/bittorrent/buffer_pool.h"
#include "agent/bittorrent/open_blobs.h"
#include "agent/bittorrent/torrent_layout.h"
#include "core/base/error.h"
#include "core/content/torrent.h"

namespace shoal::agent::bittorrent {

// What a session's disk needs, and outlives it.
struct DiskParts {
  using Clock = std::chrono::steady_clock;

  OpenBlobs& blobs;
  BufferPool& buffers;
  // The blob with that pieces root in that torrent; none: the torrent is not (or no longer) known.
  // Called on the network thread when a torrent begins.
  std::function<std::optional<content::Digest>(const content::TruncatedInfoHash&,
                                               const content::Hash32& root)>
      blob_of;
  // Takes bytes of the upload limit, or says when to ask again; empty: no limit. Any thread.
  std::function<std::optional<Clock::time_point>(std::uint64_t bytes, Clock::time_point now)> pace;
  // A blob of the torrent cannot be read. Any thread; must only post. May come many times.
  std::function<void(const content::TruncatedInfoHash&, const Error&)> failed;
};

// Thread: libtorrent's network thread (all of lt::disk_interface). Lifetime: owned by the session;
// its io_context outlives it. Every handler it was given is called exactly once, on the network
// thread, also after abort(): the session's thread does not end before.
class StoreDisk final : public lt::disk_interface {
 public:
  StoreDisk(lt::io_context& network, DiskParts parts, std::size_t threads);
  ~StoreDisk() override;
  StoreDisk(const StoreDisk&) = delete;
  StoreDisk& operator=(const StoreDisk&) = delete;

  lt::storage_holder new_torrent(const lt::storage_params& params,
                                 const std::shared_ptr<void>& torrent) override;
  void remove_torrent(lt::storage_index_t index) override;

  // Errors (of all jobs): operation_canceled after abort(); no_such_file_or_directory when a blob
  // is not here any more; invalid_argument for what is not in the torrent.
  void async_read(lt::storage_index_t index, const lt::peer_request& request,
                  std::function<void(lt::disk_buffer_holder, const lt::storage_error&)> handler,
                  lt::disk_job_flags_t flags) override;
  void async_hash(
      lt::storage_index_t index, lt::piece_index_t piece, lt::span<lt::sha256_hash> leaves,
      lt::disk_job_flags_t flags,
      std::function<void(lt::piece_index_t, const lt::sha1_hash&, const lt::storage_error&)>
          handler) override;
  void async_hash2(
      lt::storage_index_t index, lt::piece_index_t piece, int offset, lt::disk_job_flags_t flags,
      std::function<void(lt::piece_index_t, const lt::sha256_hash&, const lt::storage_error&)>
          handler) override;

  // From now on no read waits for anything: those that do, and all that come, end with
  // operation_canceled. Any thread. A session that ends needs it: it calls abort() only when no
  // peer has a read under way.
  void give_up();

  // Nothing can be written, moved, renamed or deleted: read_only_file_system.
  bool async_write(lt::storage_index_t index, const lt::peer_request& request, const char* bytes,
                   std::shared_ptr<lt::disk_observer> observer,
                   std::function<void(const lt::storage_error&)> handler,
                   lt::disk_job_flags_t flags) override;
  void async_move_storage(
      lt::storage_index_t index, std::string path, lt::move_flags_t flags,
      std::function<void(lt::status_t, const std::string&, const lt::storage_error&)> handler)
      override;
  void async_rename_file(
      lt::storage_index_t index, lt::file_index_t file, std::string name,
      std::function<void(const std::string&, lt::file_index_t, const lt::storage_error&)> handler)
      override;
  void async_delete_files(lt::storage_index_t index, lt::remove_flags_t options,
                          std::function<void(const lt::storage_error&)> handler) override;

  // A torrent is added when its blobs are complete and verified: nothing is looked at again.
  void async_check_files(
      lt::storage_index_t index, const lt::add_torrent_params* resume_data,
      lt::aux::vector<std::string, lt::file_index_t> links,
      std::function<void(lt::status_t, const lt::storage_error&)> handler) override;
  void async_release_files(lt::storage_index_t index, std::function<void()> handler) override;
  void async_stop_torrent(lt::storage_index_t index, std::function<void()> handler) override;
  void async_set_file_priority(
      lt::storage_index_t index,
      lt::aux::vector<lt::download_priority_t, lt::file_index_t> priorities,
      std::function<void(const lt::storage_error&,
                         lt::aux::vector<lt::download_priority_t, lt::file_index_t>)>
          handler) override;
  void async_clear_piece(lt::storage_index_t index, lt::piece_index_t piece,
                         std::function<void(lt::piece_index_t)> handler) override;

  void update_stats_counters(lt::counters&) const override {}
  std::vector<lt::open_file_state> get_status(lt::storage_index_t) const override { return {}; }
  // Jobs that were not begun end with operation_canceled. With `wait` it returns when those that
  // run have ended, and their results are posted.
  void abort(bool wait) override;
  void submit_jobs() override;
  void settings_updated() override {}

 private:
  struct Storage {
    content::TruncatedInfoHash torrent{};
    TorrentLayout layout;
  };
  struct Read {
    std::shared_ptr<const Storage> storage;
    lt::peer_request request;
    std::function<void(lt::disk_buffer_holder, const lt::storage_error&)> handler;
    lt::disk_buffer_holder buffer;  // the result
    lt::storage_error error;
  };
  struct Hash {
    std::shared_ptr<const Storage> storage;
    lt::piece_index_t piece;
    lt::span<lt::sha256_hash> leaves;  // the result; the handler keeps it alive
    bool v1 = false;
    std::function<void(lt::piece_index_t, const lt::sha1_hash&, const lt::storage_error&)> handler;
    lt::storage_error error;
  };
  struct Hash2 {
    std::shared_ptr<const Storage> storage;
    lt::piece_index_t piece;
    int offset = 0;
    std::function<void(lt::piece_index_t, const lt::sha256_hash&, const lt::storage_error&)>
        handler;
    lt::sha256_hash hash;  // the result
    lt::storage_error error;
  };
  using Job = std::variant<Read, Hash, Hash2>;
  using Jobs = std::vector<Job>;

  void add(Job job);
  std::shared_ptr<const Storage> storage(lt::storage_index_t index) const;
  void work();
  // Carries out the job. May have to wait before it can; then `done`, the finished ones, go out
  // first, because what it waits for may be in their results.
  void carry_out(Job& job, Jobs& done);
  void carry_out(Read& job, Jobs& done);
  void carry_out(Hash& job);
  void carry_out(Hash2& job);
  bool wait_for_pace(std::uint64_t bytes, Jobs& done);
  Status read(const std::vector<TorrentLayout::Part>& parts, std::span<std::byte> out);
  // The leaf hashes of `bytes`, which begin at a leaf.
  Status hash_leaves(const TorrentLayout::Part& bytes, std::span<content::Hash32> out);
  lt::storage_error report(const Storage& storage, const Error& error);
  void post(Jobs jobs);
  static void deliver(Job& job);

  // Constant after construction
  lt::io_context& network_;
  const DiskParts parts_;
  std::stop_source give_up_;  // what reads wait for
  std::stop_source stop_;     // the threads

  // Network thread only
  std::vector<std::shared_ptr<const Storage>> storages_;
  std::vector<std::uint32_t> unused_;  // places in storages_
  Jobs fresh_;                         // not submitted yet

  std::mutex mutex_;
  std::condition_variable_any wake_;   // of threads without jobs
  std::condition_variable_any paced_;  // of threads that wait for the upload limit or give_up_
  std::deque<Job> queue_;    // guarded by mutex_; as long as libtorrent's peers have requests
  std::size_t running_ = 0;  // guarded by mutex_; threads that have jobs
  bool aborted_ = false;     // guarded by mutex_
  // Guarded by mutex_; keeps the network thread until every result is posted.
  std::optional<boost::asio::executor_work_guard<lt::io_context::executor_type>> network_work_;

  std::vector<std::jthread> threads_;
};

}  // namespace shoal::agent::bittorrent
