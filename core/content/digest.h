// SHA-256 values: the name of a blob, and the hasher that finds it. Hides OpenSSL.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace shoal::content {

// Any SHA-256 output: a leaf hash, a piece hash, a pieces root. A Digest is one that names a blob.
using Hash32 = std::array<std::byte, 32>;

// The SHA-256 of a blob's bytes, written "sha256:<64 lower-case hex digits>" (OCI image spec,
// descriptor.md, "Digests"). A default-constructed one is all zero and names nothing.
//
// While a blob is still being read from its origin nobody may know its digest: until then it goes
// by an ingest name, "ingest:<64 digits>", which says where its bytes come from (ingest_name()).
//
// Thread: a value.
class Digest {
 public:
  constexpr Digest() = default;
  constexpr explicit Digest(const Hash32& bytes) : bytes_(bytes) {}
  static constexpr Digest of_ingest(const Hash32& bytes) {
    Digest name(bytes);
    name.ingest_ = true;
    return name;
  }

  // "sha256:<64 hex>". Errors: invalid, also for upper-case digits and other algorithms; the
  // message shows at most the first 80 bytes of `text`, escaped.
  static Result<Digest> parse(std::string_view text);
  // Also "ingest:<64 hex>": for what may name a blob that is not settled. Errors: as parse().
  static Result<Digest> parse_name(std::string_view text);
  // The 64 digits alone. Errors: invalid.
  static Result<Digest> from_hex(std::string_view hex);

  std::string str() const;
  std::string hex() const;
  constexpr const Hash32& bytes() const { return bytes_; }
  // An ingest name: it says nothing about the bytes.
  constexpr bool is_ingest() const { return ingest_; }

  friend constexpr auto operator<=>(const Digest&, const Digest&) = default;

 private:
  Hash32 bytes_{};
  bool ingest_ = false;
};

// Feeds bytes in any portions. One stream: about 1.1 to 1.3 GB/s with SHA-NI. For leaves use
// leaf_hash.h, which is several times faster.
//
// Thread: one at a time. Resource: movable, not copyable; a moved-from hasher may only be
// destroyed.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  void update(std::span<const std::byte> bytes);
  // The hash of all bytes since construction or the last finish(), and starts again from nothing.
  Hash32 finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Digest digest_of(std::span<const std::byte> bytes);
Digest digest_of(std::string_view text);

// The name under which the file of `size` bytes at an origin's `url` is brought in while its digest
// is not known. `version` is the origin's (an ETag, for example): another version is another name.
Digest ingest_name(std::string_view url, std::string_view version, std::uint64_t size);

// RFC 2104, with SHA-256.
Hash32 hmac_sha256(std::string_view key, std::string_view text);

}  // namespace shoal::content

template <>
struct std::hash<shoal::content::Digest> {
  // The bytes are uniformly distributed already: the first eight will do.
  std::size_t operator()(const shoal::content::Digest& digest) const noexcept {
    std::size_t value = 0;
    std::memcpy(&value, digest.bytes().data(), sizeof value);
    return value;
  }
};
