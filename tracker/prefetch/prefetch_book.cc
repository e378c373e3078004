#include "tracker/prefetch/prefetch_book.h"

#include <algorithm>
#include <utility>

#include "tracker/fleet/node_table.h"

namespace shoal::tracker {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

api::NodePhase phase_of(api::PullState state) {
  switch (state) {
    case api::PullState::kQueued:
      return api::NodePhase::kQueued;
    case api::PullState::kRunning:
      return api::NodePhase::kRunning;
    case api::PullState::kComplete:
      return api::NodePhase::kComplete;
    case api::PullState::kFailed:
      return api::NodePhase::kFailed;
    case api::PullState::kCancelled:
      return api::NodePhase::kCancelled;
  }
  return api::NodePhase::kFailed;
}

// Of the bytes that were fetched, from the order to the end.
std::uint64_t mean_rate(const api::PullReport& pull, std::optional<swarm::Time> begun,
                        swarm::Time now) {
  if (!begun || now <= *begun) return 0;
  const auto bytes = static_cast<double>(pull.by_source.peers + pull.by_source.origin);
  return static_cast<std::uint64_t>(bytes / std::chrono::duration<double>(now - *begun).count());
}

}  // namespace

bool PrefetchBook::selects(const api::NodeSelector& selector, const Candidate& node) {
  if (selector.all) return true;
  if (!selector.labels.empty()) return has_labels(node.labels, node.topology, selector.labels);
  return std::find(selector.ids.begin(), selector.ids.end(), node.id) != selector.ids.end();
}

std::vector<std::string> PrefetchBook::add(const StoredPrefetch& prefetch,
                                           std::uint64_t bytes_total,
                                           const std::vector<Candidate>& live, swarm::Time now) {
  Order& order = orders_[prefetch.id];
  order.stored = prefetch;
  order.bytes_total = bytes_total;
  if (prefetch.request.timeout.count() > 0) order.deadline = now + prefetch.request.timeout;
  order.settle_from = now;
  for (const std::string& id : prefetch.request.nodes.ids) order.members[id].absent_since = now;
  for (const Candidate& node : live) {
    if (!selects(prefetch.request.nodes, node)) continue;
    order.members[node.id].phase = api::NodePhase::kOrdered;
    order.members[node.id].begun = now;
    changed_nodes_.insert(node.id);
  }
  std::vector<std::string> selected;
  for (const auto& [id, member] : order.members) selected.push_back(id);
  return selected;
}

void PrefetchBook::restore(const StoredPrefetch& prefetch, std::uint64_t bytes_total,
                           std::optional<milliseconds> remaining, swarm::Time now) {
  Order& order = orders_[prefetch.id];
  order.stored = prefetch;
  order.bytes_total = bytes_total;
  if (!order.running()) {
    order.ended = now;
    order.called_off = prefetch.state == api::PrefetchState::kCancelled ||
                       prefetch.state == api::PrefetchState::kTimedOut;
    return;
  }
  if (remaining) order.deadline = now + std::max(*remaining, milliseconds(0));
  order.settle_from = now + options_.restart_grace;
  for (const std::string& id : prefetch.request.nodes.ids) order.members[id].absent_since = now;
}

void PrefetchBook::node_came(const Candidate& node, swarm::Time now) {
  nodes_.insert(node.id);
  changed_nodes_.insert(node.id);
  for (auto& [id, order] : orders_) {
    if (!order.running() || !selects(order.stored.request.nodes, node)) continue;
    Member& member = order.members[node.id];
    // What it had finished it has still; all else it is given again.
    if (member.ended() && !member.given_up) continue;
    member = Member{.phase = api::NodePhase::kOrdered,
                    .absent_since = now,
                    .pull = {},
                    .begun = now,
                    .heard = {}};
    ++order.version;
  }
}

void PrefetchBook::node_left(std::string_view node, swarm::Time now) {
  if (auto it = nodes_.find(node); it != nodes_.end()) nodes_.erase(it);
  for (auto& [id, order] : orders_) {
    auto it = order.members.find(node);
    if (!order.running() || it == order.members.end() || it->second.ended()) continue;
    it->second.phase = api::NodePhase::kAbsent;
    it->second.absent_since = now;
    it->second.pull.rate = 0;
    ++order.version;
  }
}

void PrefetchBook::report(std::string_view node, const std::vector<api::PullReport>& pulls,
                          swarm::Time now) {
  for (const api::PullReport& pull : pulls) {
    auto order = orders_.find(pull.id);
    if (order == orders_.end() || !order->second.running()) continue;
    auto it = order->second.members.find(node);
    if (it == order->second.members.end()) continue;
    Member& member = it->second;
    if (member.phase == api::NodePhase::kComplete) continue;
    bool had_ended = member.ended();
    member.phase = phase_of(pull.state);
    member.given_up = false;
    member.pull = pull;
    if (member.ended()) member.pull.rate = mean_rate(pull, member.begun, now);
    member.heard = now;
    ++order->second.version;
    if (member.ended() != had_ended) changed_nodes_.emplace(node);
    settle(order->second, now);
  }
}

Status PrefetchBook::cancel(std::string_view id, swarm::Time now) {
  auto order = orders_.find(id);
  if (order == orders_.end()) {
    return fail(Errc::kNotFound, "no prefetch " + std::string(id));
  }
  if (!order->second.running()) {
    return fail(Errc::kConflict, "prefetch " + std::string(id) + " has ended already");
  }
  end(order->second, api::PrefetchState::kCancelled, now);
  return {};
}

void PrefetchBook::manifest_named(const content::Digest& manifest) {
  if (removed_.erase(manifest) > 0) changed_nodes_.insert(nodes_.begin(), nodes_.end());
}

void PrefetchBook::manifest_removed(const content::Digest& manifest, swarm::Time now) {
  removed_[manifest] = now;
  changed_nodes_.insert(nodes_.begin(), nodes_.end());
}

void PrefetchBook::manifest_settled(const content::Digest& provisional,
                                    const content::Digest& settled, std::uint64_t bytes_total) {
  for (auto& [id, order] : orders_) {
    if (!order.running() || order.stored.manifest != provisional) continue;
    order.stored.manifest = settled;
    order.bytes_total = bytes_total;
    ++order.version;
    for (const auto& [node, member] : order.members) changed_nodes_.insert(node);
  }
}

void PrefetchBook::manifest_failed(const content::Digest& manifest, const Error& error,
                                   swarm::Time now) {
  for (auto& [id, order] : orders_) {
    if (!order.running() || order.stored.manifest != manifest) continue;
    for (auto& [node, member] : order.members) {
      if (member.ended() && !member.given_up) continue;  // it has said what came of it
      if (!member.given_up) member.pull.rate = mean_rate(member.pull, member.begun, now);
      member.phase = api::NodePhase::kFailed;
      member.given_up = false;
      member.pull.waiting_for.clear();
      member.pull.error = error;
    }
    end(order, api::PrefetchState::kFailed, now);
    order.called_off = true;
  }
}

void PrefetchBook::settle(Order& order, swarm::Time now) {
  if (!order.running() || order.members.empty() || now < order.settle_from) return;
  bool all_ended = std::all_of(order.members.begin(), order.members.end(),
                               [](const auto& member) { return member.second.ended(); });
  if (!all_ended) return;
  bool all_complete = std::all_of(
      order.members.begin(), order.members.end(),
      [](const auto& member) { return member.second.phase == api::NodePhase::kComplete; });
  end(order, all_complete ? api::PrefetchState::kComplete : api::PrefetchState::kFailed, now);
}

void PrefetchBook::end(Order& order, api::PrefetchState state, swarm::Time now) {
  order.stored.state = state;
  order.called_off =
      state == api::PrefetchState::kCancelled || state == api::PrefetchState::kTimedOut;
  order.ended = now;
  ++order.version;
  ended_.push_back(order.stored.id);
  for (const auto& [id, member] : order.members) changed_nodes_.insert(id);
}

void PrefetchBook::tick(swarm::Time now) {
  for (auto it = orders_.begin(); it != orders_.end();) {
    Order& order = it->second;
    if (!order.running()) {
      it = order.ended + options_.keep_ended < now ? orders_.erase(it) : std::next(it);
      continue;
    }
    for (auto& [id, member] : order.members) {
      if (member.phase == api::NodePhase::kAbsent &&
          member.absent_since + options_.absent_grace < now) {
        member.phase = api::NodePhase::kFailed;
        member.given_up = true;
        ++order.version;
      }
    }
    settle(order, now);
    if (order.running() && order.deadline <= now) end(order, api::PrefetchState::kTimedOut, now);
    ++it;
  }
  std::erase_if(removed_,
                [&](const auto& entry) { return entry.second + options_.keep_told < now; });
}

std::vector<std::string> PrefetchBook::take_changed_nodes() {
  std::vector<std::string> out(changed_nodes_.begin(), changed_nodes_.end());
  changed_nodes_.clear();
  return out;
}

std::vector<StoredPrefetch> PrefetchBook::take_ended() {
  std::vector<StoredPrefetch> out;
  for (const std::string& id : std::exchange(ended_, {})) {
    if (auto it = orders_.find(id); it != orders_.end()) out.push_back(it->second.stored);
  }
  return out;
}

api::EventOrders PrefetchBook::orders(std::string_view node, swarm::Time now) const {
  api::EventOrders out;
  for (const auto& [id, order] : orders_) {
    auto member = order.members.find(node);
    if (member == order.members.end()) continue;
    if (!order.running()) {
      if (order.called_off && now < order.ended + options_.keep_told &&
          out.cancelled.size() < api::kMaxOrders) {
        out.cancelled.push_back(id);
      }
      continue;
    }
    if (member->second.ended() || out.orders.size() == api::kMaxOrders) continue;
    api::Order told{.id = id,
                    .reference = order.stored.request.reference,
                    .manifest = order.stored.manifest,
                    .pin = order.stored.request.pin};
    if (order.deadline != swarm::kNever) {
      // At least 1: 0 means none.
      told.remaining = std::max(duration_cast<milliseconds>(order.deadline - now), milliseconds(1));
    }
    out.orders.push_back(std::move(told));
  }
  for (const auto& [manifest, when] : removed_) {
    if (out.removed.size() < api::kMaxOrders) out.removed.push_back(manifest);
  }
  return out;
}

api::NodeProgress PrefetchBook::progress(const std::string& node, const Member& member,
                                         std::uint64_t bytes_total, swarm::Time now) {
  const api::PullReport& pull = member.pull;
  api::NodeProgress out{.node = node,
                        .state = member.phase,
                        .bytes_total = pull.bytes_total ? pull.bytes_total : bytes_total,
                        .bytes_done = pull.bytes_done,
                        .by_source = pull.by_source,
                        .rate = pull.rate,
                        .waiting_for = pull.waiting_for,
                        .error = pull.error,
                        .sources = pull.sources,
                        .waits = pull.waits,
                        .last_errors = pull.last_errors};
  if (member.heard) {
    out.last_heard_ms_ago = duration_cast<milliseconds>(now - *member.heard).count();
  }
  if (member.phase == api::NodePhase::kAbsent) {
    out.waiting_for = "the node, which is not there";
  } else if (member.phase == api::NodePhase::kOrdered) {
    out.waiting_for = "the node's first report";
  }
  if (member.given_up) {
    auto seconds = duration_cast<std::chrono::seconds>(now - member.absent_since).count();
    out.waiting_for.clear();
    out.error =
        Error(Errc::kUnavailable, "the node is not there, for " + std::to_string(seconds) + " s");
  }
  return out;
}

Result<api::PrefetchStatus> PrefetchBook::status(std::string_view id, swarm::Time now) const {
  auto it = orders_.find(id);
  if (it == orders_.end()) return fail(Errc::kNotFound, "no prefetch " + std::string(id));
  const Order& order = it->second;
  api::PrefetchStatus out{.id = order.stored.id,
                          .version = order.version,
                          .reference = order.stored.request.reference,
                          .manifest = order.stored.manifest,
                          .state = order.stored.state,
                          .pin = order.stored.request.pin,
                          .created_unix_ms = order.stored.created_unix_ms,
                          .timeout = order.stored.request.timeout};
  if (order.running() && order.deadline != swarm::kNever) {
    out.remaining = std::max(duration_cast<milliseconds>(order.deadline - now), milliseconds(0));
  }
  for (const auto& [node, member] : order.members) {
    out.nodes.push_back(progress(node, member, order.bytes_total, now));
  }
  out.totals = api::total_of(out.nodes);
  return out;
}

std::uint64_t PrefetchBook::version(std::string_view id) const {
  auto it = orders_.find(id);
  return it == orders_.end() ? 0 : it->second.version;
}

std::size_t PrefetchBook::running() const {
  return static_cast<std::size_t>(std::count_if(
      orders_.begin(), orders_.end(), [](const auto& order) { return order.second.running(); }));
}

}  // namespace shoal::tracker
