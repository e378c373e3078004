#include "core/api/paths.h"

namespace shoal::api::paths {

std::string escape(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      auto byte = static_cast<unsigned char>(c);
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

namespace {

std::string node_path(std::string_view node, std::string_view last) {
  return "/v1/nodes/" + escape(node) + "/" + std::string(last);
}

std::string poll_query(std::uint64_t since, std::chrono::milliseconds wait) {
  return "since=" + std::to_string(since) + "&wait=" + std::to_string(wait.count());
}

}  // namespace

std::string node_register(std::string_view node) { return node_path(node, "register"); }
std::string node_heartbeat(std::string_view node) { return node_path(node, "heartbeat"); }
std::string node_leases(std::string_view node) { return node_path(node, "leases"); }
std::string node_events(std::string_view node, std::string_view epoch, std::uint64_t since,
                        std::chrono::milliseconds wait) {
  return node_path(node, "events?epoch=") + escape(epoch) + "&" + poll_query(since, wait);
}

std::string manifest(const content::Digest& digest) { return "/v1/manifests/" + digest.str(); }
std::string table(const content::Digest& blob) { return "/v1/tables/" + blob.str(); }
std::string origins(const content::Digest& blob) { return "/v1/origins/" + blob.str(); }
std::string statements(const content::Digest& blob) { return "/v1/statements/" + blob.str(); }
std::string statement(const content::Digest& blob, std::string_view node) {
  return statements(blob) + "/" + escape(node);
}
std::string reference(std::string_view reference) {
  return "/v1/references?reference=" + escape(reference);
}
std::string references(std::string_view after, std::size_t limit) {
  return "/v1/references?after=" + escape(after) + "&limit=" + std::to_string(limit);
}
std::string resolve(std::string_view reference) {
  return "/v1/resolve?reference=" + escape(reference);
}

std::string prefetch() { return "/v1/prefetch"; }
std::string prefetch(std::string_view id) { return "/v1/prefetch/" + escape(id); }
std::string prefetch(std::string_view id, std::uint64_t since, std::chrono::milliseconds wait) {
  return prefetch(id) + "?" + poll_query(since, wait);
}
std::string nodes() { return "/v1/nodes"; }
std::string status(std::string_view reference) {
  return "/v1/status?reference=" + escape(reference);
}
std::string version() { return "/v1/version"; }

}  // namespace shoal::api::paths
