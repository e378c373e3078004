// Which places this node may read origins from. An origin's URL comes from whoever published a
// model, so without this list a publisher could make every node of a cluster call any address it
// can reach.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

struct sockaddr;

namespace shoal::agent {

// Pure and immutable. Entries:
//   host            that name or address, any port; the name may resolve to a private address
//   host:port       the same, one port
//   *.example.org   any name below it; private addresses stay refused
//   10.0.0.0/8      addresses, by IPv4 or IPv6 prefix
//   dir:/srv/models files at or below that directory
class AllowList {
 public:
  // Errors: invalid, naming the entry.
  static Result<AllowList> parse(std::span<const std::string> entries);

  // This list and more entries of the forms `host` and `*.example.org`, at which private addresses
  // stay refused whatever they resolve to: what a kind of origin usually needs, not what an
  // operator chose.
  AllowList with_public(std::span<const std::string> hosts) const;

  // One more host or address, any port, as if the operator had listed it.
  void add_host(const std::string& host);

  // May a connection be opened to this host? Also called for each redirect.
  // Errors: denied, with the line to add.
  Status check_host(std::string_view host, std::uint16_t port) const;

  // May this resolved address of `host` be connected to? Loopback, link-local, private and
  // otherwise special addresses only if the address's prefix or the exact host is listed. Errors:
  // denied.
  Status check_address(std::string_view host, std::uint16_t port, const sockaddr& address) const;

  // May this absolute, symlink-free path be read? Errors: denied, with the line to add.
  Status check_directory(std::string_view path) const;

 private:
  struct HostEntry {
    std::string host;  // lower case; with `below`, the part after "*"
    std::uint16_t port = 0;
    bool below = false;
    bool is_public = false;
  };
  struct Prefix {
    std::vector<std::uint8_t> bytes;  // 4 or 16, network order
    unsigned bits = 0;
  };

  bool prefix_listed(std::span<const std::uint8_t> address) const;
  bool host_listed(std::string_view host, std::uint16_t port, bool exact_only) const;

  std::vector<HostEntry> hosts_;
  std::vector<Prefix> prefixes_;
  std::vector<std::string> directories_;
};

}  // namespace shoal::agent
