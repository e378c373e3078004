#include "core/content/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/base/check.h"
#include "core/base/hex.h"
#include "core/content/relative_path.h"

namespace shoal::content {

namespace {

constexpr std::string_view kPrefix = "sha256:";
constexpr std::string_view kIngestPrefix = "ingest:";

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  Hash32 bytes;
  if (!text.starts_with(kPrefix) || !shoal::from_hex(text.substr(kPrefix.size()), bytes)) {
    return fail(Errc::kInvalid,
                "'" + escape_for_message(text) +
                    "' is not a digest: it is sha256: and 64 lower-case hex digits");
  }
  return Digest(bytes);
}

Result<Digest> Digest::parse_name(std::string_view text) {
  if (!text.starts_with(kIngestPrefix)) return parse(text);
  Hash32 bytes;
  if (!shoal::from_hex(text.substr(kIngestPrefix.size()), bytes)) {
    return fail(Errc::kInvalid, "'" + escape_for_message(text) +
                                    "' is not an ingest name: it is ingest: and 64 lower-case hex "
                                    "digits");
  }
  return of_ingest(bytes);
}

Result<Digest> Digest::from_hex(std::string_view hex) {
  Hash32 bytes;
  if (!shoal::from_hex(hex, bytes)) {
    return fail(Errc::kInvalid,
                "'" + escape_for_message(hex) + "' is not 64 lower-case hex digits");
  }
  return Digest(bytes);
}

std::string Digest::str() const { return std::string(ingest_ ? kIngestPrefix : kPrefix) + hex(); }

std::string Digest::hex() const { return to_hex(bytes_); }

struct Sha256::Context {
  Context() : evp(EVP_MD_CTX_new()) {
    SHOAL_CHECK(evp != nullptr, "out of memory");
    start();
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { EVP_MD_CTX_free(evp); }

  void start() {
    // Fetched once: an implicit fetch at each start costs more than hashing a tree node.
    static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    SHOAL_CHECK(EVP_DigestInit_ex2(evp, algorithm, nullptr) == 1, "OpenSSL has no SHA-256");
  }

  EVP_MD_CTX* evp;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  SHOAL_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1, "SHA-256 failed");
}

Hash32 Sha256::finish() {
  Hash32 hash;
  SHOAL_CHECK(EVP_DigestFinal_ex(context_->evp, reinterpret_cast<unsigned char*>(hash.data()),
                                 nullptr) == 1,
              "SHA-256 failed");
  context_->start();
  return hash;
}

Digest digest_of(std::span<const std::byte> bytes) {
  Sha256 hasher;
  hasher.update(bytes);
  return Digest(hasher.finish());
}

Digest digest_of(std::string_view text) { return digest_of(std::as_bytes(std::span(text))); }

Digest ingest_name(std::string_view url, std::string_view version, std::uint64_t size) {
  // Each part's length goes with it, so that no two triples are spelt alike.
  std::string text = "shoal ingest 1\n" + std::to_string(size) + "\n";
  for (std::string_view part : {url, version}) {
    text += std::to_string(part.size()) + " " + std::string(part) + "\n";
  }
  return Digest::of_ingest(digest_of(text).bytes());
}

Hash32 hmac_sha256(std::string_view key, std::string_view text) {
  Hash32 out{};
  unsigned size = 0;
  const unsigned char* made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                                   reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                                   reinterpret_cast<unsigned char*>(out.data()), &size);
  SHOAL_CHECK(made != nullptr && size == out.size(), "HMAC failed");
  return out;
}

}  // namespace shoal::content
