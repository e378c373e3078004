#include "agent/swarm/have_board.h"

#include <algorithm>
#include <charconv>
#include <chrono>

#include "core/base/metrics.h"
#include "core/base/random.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMaxWait{30'000};
// Changes of this long travel together unless the asker wants it otherwise: a piece every few
// microseconds must not be a message each.
constexpr milliseconds kGather{20};
constexpr milliseconds kMaxGather{1'000};

// A query value in milliseconds, cut to 0 … most.
Result<milliseconds> parse_milliseconds(const http::Request& request, std::string_view name,
                                        milliseconds otherwise, milliseconds most) {
  std::string_view text = request.query_value(name);
  if (text.empty()) return otherwise;
  std::int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(Errc::kInvalid, std::string(name) + ": milliseconds");
  }
  return std::clamp(milliseconds(value), milliseconds(0), most);
}

}  // namespace

HaveBoard::HaveBoard(Executor executor)
    : executor_(executor), changed_(executor), stop_(executor) {}

void HaveBoard::set(const content::Digest& blob, const content::BlobLayout& layout,
                    const content::PieceSet& have) {
  assert_owner_thread();
  std::uint64_t key = swarm::blob_key(blob);
  gone_.erase(key);
  logs_.insert_or_assign(key, swarm::HaveLog(layout, have, random_u64()));
  changed_.notify_all();
}

void HaveBoard::add(const content::Digest& blob, content::PieceRange pieces) {
  auto it = logs_.find(swarm::blob_key(blob));
  if (it == logs_.end()) return;
  std::uint64_t before = it->second.version();
  it->second.add(pieces);
  if (it->second.version() != before) changed_.notify_all();
}

void HaveBoard::remove_pieces(const content::Digest& blob, const content::PieceSet& lost) {
  auto it = logs_.find(swarm::blob_key(blob));
  if (it == logs_.end()) return;
  for (auto run = lost.next_run(content::PieceIndex(0)); !run.empty();
       run = lost.next_run(run.end())) {
    it->second.remove(run);
  }
  changed_.notify_all();
}

void HaveBoard::remove(const content::Digest& blob) {
  std::uint64_t key = swarm::blob_key(blob);
  auto it = logs_.find(key);
  if (it == logs_.end()) return;
  gone_[key] = it->second.version() + 1;
  logs_.erase(it);
  changed_.notify_all();
}

const content::PieceSet* HaveBoard::pieces(const content::Digest& blob) const {
  auto it = logs_.find(swarm::blob_key(blob));
  return it == logs_.end() ? nullptr : &it->second.pieces();
}

// "<16 hex digits>.<version>", comma separated.
Result<std::vector<HaveBoard::Asked>> HaveBoard::parse_asked(std::string_view text) {
  std::vector<Asked> asked;
  while (!text.empty()) {
    std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    Asked one{};
    auto dot = item.find('.');
    const char* end = item.data() + item.size();
    bool good = dot == 16 && asked.size() < swarm::kMaxHaveEntries;
    if (good) {
      auto key = std::from_chars(item.data(), item.data() + dot, one.blob, 16);
      auto version = std::from_chars(item.data() + dot + 1, end, one.version);
      good = key.ec == std::errc() && key.ptr == item.data() + dot && version.ec == std::errc() &&
             version.ptr == end;
    }
    if (!good) {
      return fail(Errc::kInvalid, "blobs: write <16 hex digits>.<version>, comma separated");
    }
    asked.push_back(one);
  }
  return asked;
}

std::vector<swarm::HaveEntry> HaveBoard::collect(const std::vector<Asked>& asked) const {
  std::vector<swarm::HaveEntry> entries;
  for (const Asked& one : asked) {
    if (auto it = logs_.find(one.blob); it != logs_.end()) {
      if (it->second.version() != one.version) {
        entries.push_back(it->second.since(one.version, one.blob));
      }
    } else if (auto gone = gone_.find(one.blob); gone != gone_.end()) {
      if (one.version != 0 && one.version != gone->second) {
        swarm::HaveEntry entry;
        entry.blob = one.blob;
        entry.version = gone->second;
        entries.push_back(std::move(entry));
      }
    }
  }
  return entries;
}

Task<http::Response> HaveBoard::have(http::Request request,
                                     std::shared_ptr<const LaneAsker> asker) {
  Result<std::vector<Asked>> asked = parse_asked(request.query_value("blobs"));
  if (!asked) co_return http::Response::error(asked.error());
  Result<milliseconds> wait = parse_milliseconds(request, "wait", milliseconds(0), kMaxWait);
  if (!wait) co_return http::Response::error(wait.error());
  Result<milliseconds> gather = parse_milliseconds(request, "gather", kGather, kMaxGather);
  if (!gather) co_return http::Response::error(gather.error());
  Deadline deadline = Deadline::after(*wait);
  std::vector<swarm::HaveEntry> entries = collect(*asked);
  while (entries.empty() && !stop_.is_set() && !asker->gone) {
    if (!co_await changed_.wait(deadline)) break;
    // Something changed, perhaps nothing that this asker cares about.
    if (collect(*asked).empty()) continue;
    (void)co_await sleep_until(std::min(deadline, Deadline::after(*gather)), &stop_);
    entries = collect(*asked);
  }
  static metrics::Counter& answers = metrics::counter(
      "shoal_agent_have_answers_total", "Polls of peers for what is held here that were answered.");
  answers.add();
  std::vector<std::byte> message = swarm::encode_have(entries);
  http::Response response;
  response.headers.set("Content-Type", "application/octet-stream");
  response.body.assign(reinterpret_cast<const char*>(message.data()), message.size());
  co_return response;
}

void HaveBoard::close() {
  stop_.set();
  changed_.close();
}

}  // namespace shoal::agent
