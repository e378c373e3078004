#include "agent/origin/allow_list.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <utility>

#include "agent/origin/text.h"
#include "core/base/check.h"

namespace shoal::agent {
namespace {

std::optional<std::vector<std::uint8_t>> parse_address(std::string_view text) {
  std::string copy(text);
  std::array<std::uint8_t, 16> bytes{};
  if (::inet_pton(AF_INET, copy.c_str(), bytes.data()) == 1) {
    return std::vector<std::uint8_t>(bytes.begin(), bytes.begin() + 4);
  }
  if (::inet_pton(AF_INET6, copy.c_str(), bytes.data()) == 1) {
    return std::vector<std::uint8_t>(bytes.begin(), bytes.end());
  }
  return std::nullopt;
}

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool has_prefix(std::span<const std::uint8_t> address, std::span<const std::uint8_t> prefix,
                unsigned bits) {
  if (address.size() != prefix.size()) return false;
  for (unsigned bit = 0; bit < bits; bit += 8) {
    unsigned in_byte = std::min(8u, bits - bit);
    auto mask = static_cast<std::uint8_t>(0xff << (8 - in_byte));
    if ((address[bit / 8] & mask) != (prefix[bit / 8] & mask)) return false;
  }
  return true;
}

struct SpecialRange {
  std::array<std::uint8_t, 16> bytes;
  std::size_t size;
  unsigned bits;
};

// From the IANA special-purpose address registries: what must not be reached on a publisher's word.
constexpr std::array<SpecialRange, 16> kSpecial{{
    {{0}, 4, 8},
    {{10}, 4, 8},
    {{100, 64}, 4, 10},
    {{127}, 4, 8},
    {{169, 254}, 4, 16},
    {{172, 16}, 4, 12},
    {{192, 0, 0}, 4, 24},
    {{192, 168}, 4, 16},
    {{198, 18}, 4, 15},
    {{224}, 4, 4},
    {{240}, 4, 4},
    {{0}, 16, 127},  // :: and ::1
    {{0x00, 0x64, 0xff, 0x9b}, 16, 32},
    {{0xfc}, 16, 7},
    {{0xfe, 0x80}, 16, 10},
    {{0xff}, 16, 8},
}};

bool is_special(std::span<const std::uint8_t> address) {
  return std::any_of(kSpecial.begin(), kSpecial.end(), [&](const SpecialRange& range) {
    return has_prefix(address, std::span(range.bytes).first(range.size), range.bits);
  });
}

bool valid_host(std::string_view host) {
  return !host.empty() && host.size() <= 253 &&
         std::all_of(host.begin(), host.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '-' || c == '.' || c == '_' || c == ':';
         });
}

tl::unexpected<Error> not_listed(std::string_view host) {
  return fail(Errc::kDenied, "origin host " + std::string(host) +
                                 " is not allowed on this node: add '" + std::string(host) +
                                 "' to origin-allow");
}

}  // namespace

Result<AllowList> AllowList::parse(std::span<const std::string> entries) {
  AllowList list;
  for (const std::string& entry : entries) {
    auto bad = [&](std::string_view why) {
      return fail(Errc::kInvalid,
                  "origin-allow entry '" + entry + "': " + std::string(why) +
                      "; write host, host:port, *.example.org, 10.0.0.0/8 or dir:/srv/models");
    };
    if (entry.starts_with("dir:")) {
      std::string path = entry.substr(4);
      while (path.size() > 1 && path.ends_with('/')) path.pop_back();
      if (!path.starts_with('/')) return bad("a directory must be absolute");
      list.directories_.push_back(std::move(path));
      continue;
    }
    if (auto slash = entry.find('/'); slash != std::string::npos) {
      auto address = parse_address(std::string_view(entry).substr(0, slash));
      auto bits = parse_number<unsigned>(std::string_view(entry).substr(slash + 1));
      if (!address || !bits || *bits > address->size() * 8) return bad("not an address prefix");
      list.prefixes_.push_back({std::move(*address), *bits});
      continue;
    }
    HostEntry host;
    std::string text = lower(entry);
    if (text.starts_with('[')) {
      auto end = text.find(']');
      if (end == std::string::npos) return bad("missing ]");
      host.host = text.substr(1, end - 1);
      text = text.substr(end + 1);
    } else if (std::count(text.begin(), text.end(), ':') > 1) {
      host.host = std::exchange(text, "");
    } else {
      auto colon = text.find(':');
      host.host = text.substr(0, colon);
      text = colon == std::string::npos ? "" : text.substr(colon);
    }
    if (!text.empty()) {
      auto port = parse_number<std::uint16_t>(std::string_view(text).substr(1));
      if (text.front() != ':' || !port || *port == 0) return bad("bad port");
      host.port = *port;
    }
    if (host.host.starts_with("*.")) {
      host.below = true;
      host.host.erase(0, 1);
      if (host.host.size() == 1) return bad("every name is not a limit");
    }
    if (!valid_host(host.host)) return bad("not a host name");
    list.hosts_.push_back(std::move(host));
  }
  return list;
}

AllowList AllowList::with_public(std::span<const std::string> hosts) const {
  Result<AllowList> more = parse(hosts);
  SHOAL_CHECK(more.has_value() && more->prefixes_.empty() && more->directories_.empty(),
              "not a list of hosts");
  AllowList out = *this;
  for (HostEntry& entry : more->hosts_) {
    entry.is_public = true;
    out.hosts_.push_back(std::move(entry));
  }
  return out;
}

void AllowList::add_host(const std::string& host) {
  hosts_.push_back({.host = lower(host), .port = 0, .below = false, .is_public = false});
}

bool AllowList::prefix_listed(std::span<const std::uint8_t> address) const {
  return std::any_of(prefixes_.begin(), prefixes_.end(), [&](const Prefix& prefix) {
    return has_prefix(address, prefix.bytes, prefix.bits);
  });
}

bool AllowList::host_listed(std::string_view host, std::uint16_t port, bool exact_only) const {
  std::string name = lower(host);
  return std::any_of(hosts_.begin(), hosts_.end(), [&](const HostEntry& entry) {
    if (entry.port != 0 && entry.port != port) return false;
    if (entry.is_public && exact_only) return false;
    if (entry.below) return !exact_only && name.ends_with(entry.host);
    return name == entry.host;
  });
}

Status AllowList::check_host(std::string_view host, std::uint16_t port) const {
  if (host_listed(host, port, false)) return {};
  auto address = parse_address(host);
  if (address && prefix_listed(*address)) return {};
  // A name may still resolve into a listed prefix; check_address decides then.
  if (!address && !prefixes_.empty()) return {};
  return not_listed(host);
}

Status AllowList::check_address(std::string_view host, std::uint16_t port,
                                const sockaddr& address) const {
  std::span<const std::uint8_t> bytes;
  std::array<std::uint8_t, 4> mapped{};
  if (address.sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    bytes = {reinterpret_cast<const std::uint8_t*>(&v4.sin_addr), 4};
  } else if (address.sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    bytes = {reinterpret_cast<const std::uint8_t*>(&v6.sin6_addr), 16};
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      std::copy(bytes.end() - 4, bytes.end(), mapped.begin());
      bytes = mapped;
    }
  } else {
    return fail(Errc::kDenied, "origin host " + std::string(host) + ": unknown address family");
  }
  if (prefix_listed(bytes) || host_listed(host, port, true)) return {};
  if (is_special(bytes)) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text.data(), text.size());
    return fail(Errc::kDenied, "origin host " + std::string(host) + " resolves to " + text.data() +
                                   ", a private address: add '" + std::string(host) +
                                   "' or its address prefix to origin-allow");
  }
  if (host_listed(host, port, false)) return {};
  return not_listed(host);
}

Status AllowList::check_directory(std::string_view path) const {
  for (const std::string& directory : directories_) {
    if (path == directory || directory == "/" ||
        (path.starts_with(directory) && path.size() > directory.size() &&
         path[directory.size()] == '/')) {
      return {};
    }
  }
  std::string parent(path.substr(0, std::max<std::size_t>(path.rfind('/'), 1)));
  return fail(Errc::kDenied, "origin file " + std::string(path) +
                                 " is not allowed on this node: add 'dir:" + parent +
                                 "' to origin-allow");
}

}  // namespace shoal::agent
