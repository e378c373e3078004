#include "agent/bittorrent/session_settings.h"

#include <algorithm>
#include <libtorrent/alert.hpp>
#include <libtorrent/fingerprint.hpp>

namespace shoal::agent::bittorrent {
namespace {

// With a limit, what is read ahead for a peer is what it gets in about this time: it would take a
// block that comes much later for lost, and ask elsewhere.
constexpr std::uint64_t kReadAheadSeconds = 4;
constexpr std::uint64_t kLeastReadAhead = 64 * kKiB;

}  // namespace

lt::settings_pack session_settings(const std::string& listen, const std::string& user_agent,
                                   Rate upload_limit) {
  using lt::settings_pack;
  settings_pack pack;
  pack.set_str(settings_pack::listen_interfaces, listen);
  // That port or none: the operator's firewall knows no other.
  pack.set_int(settings_pack::max_retry_port_bind, 0);
  pack.set_bool(settings_pack::listen_system_port_fallback, false);
  pack.set_int(settings_pack::listen_queue_size, 128);
  pack.set_str(settings_pack::user_agent, user_agent);
  pack.set_str(settings_pack::peer_fingerprint, lt::generate_fingerprint("SH", 0, 1));
  pack.set_int(settings_pack::alert_mask, lt::alert_category::error | lt::alert_category::status);

  // Peers come from the tracker alone.
  pack.set_bool(settings_pack::enable_dht, false);
  pack.set_str(settings_pack::dht_bootstrap_nodes, "");
  pack.set_bool(settings_pack::enable_lsd, false);
  pack.set_bool(settings_pack::enable_upnp, false);
  pack.set_bool(settings_pack::enable_natpmp, false);
  pack.set_int(settings_pack::stop_tracker_timeout, 2);

  pack.set_bool(settings_pack::enable_incoming_utp, false);
  pack.set_bool(settings_pack::enable_outgoing_utp, false);
  // Encryption hides the protocol from middlemen, no more: for those who insist on it.
  pack.set_int(settings_pack::in_enc_policy, settings_pack::pe_enabled);
  pack.set_int(settings_pack::out_enc_policy, settings_pack::pe_disabled);
  // Behind one address there may be many nodes.
  pack.set_bool(settings_pack::allow_multiple_connections_per_ip, true);
  // By default libtorrent marks its packets as less important than anything else.
  pack.set_int(settings_pack::peer_dscp, 0);

  // What bounds memory and descriptors.
  pack.set_int(settings_pack::connections_limit, 200);
  pack.set_int(settings_pack::unchoke_slots_limit, kUnchokeSlots);
  pack.set_int(settings_pack::allowed_fast_set_size, 0);
  pack.set_int(settings_pack::max_allowed_in_request_queue, 1000);
  pack.set_int(settings_pack::alert_queue_size, 1000);
  std::uint64_t ahead = kReadAhead;
  if (!upload_limit.unlimited()) {
    ahead = std::clamp(upload_limit.bytes_per_second() * kReadAheadSeconds / kUnchokeSlots,
                       kLeastReadAhead, kReadAhead);
  }
  pack.set_int(settings_pack::send_buffer_watermark, static_cast<int>(ahead));
  pack.set_int(settings_pack::send_buffer_low_watermark,
               static_cast<int>(std::min(ahead, 256 * kKiB)));
  pack.set_int(settings_pack::send_buffer_watermark_factor, 150);
  // Its own limits work in steps of half a second and know nothing of the lane.
  pack.set_int(settings_pack::upload_rate_limit, 0);
  return pack;
}

}  // namespace shoal::agent::bittorrent
