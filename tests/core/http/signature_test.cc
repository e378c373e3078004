#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <chrono>
#include <memory>
#include <string>

#include "core/http/tls.h"
#include "tests/fakes/test_certificates.h"

namespace shoal::http {
namespace {

TEST(Signature, NamesWhoSignedToEverybodyOfTheCluster) {
  const TestCa ca;
  const auto signer = ca.context(node_identity("gpu-1"));
  auto signature = signer->sign("hello");
  ASSERT_TRUE(signature) << signature.error().str();
  auto who = ca.context(node_identity("gpu-2"))->verify("hello", *signature);
  ASSERT_TRUE(who) << who.error().str();
  EXPECT_TRUE(who->is_node("gpu-1"));
}

TEST(Signature, IsOfThatTextAlone) {
  const TestCa ca;
  const auto context = ca.context(node_identity("gpu-1"));
  auto signature = context->sign("hello");
  EXPECT_EQ(context->verify("hellp", *signature).error().code(), Errc::kDenied);
  signature->bytes[signature->bytes.size() / 2] ^= 1;
  EXPECT_EQ(context->verify("hello", *signature).error().code(), Errc::kDenied);
}

TEST(Signature, OfAnotherCaIsRefused) {
  const TestCa ca("one");
  const TestCa other("two");
  auto signature = other.context(node_identity("gpu-1"))->sign("hello");
  auto who = ca.context(node_identity("gpu-2"))->verify("hello", *signature);
  ASSERT_FALSE(who);
  EXPECT_EQ(who.error().code(), Errc::kDenied);
  EXPECT_NE(who.error().message().find("not of the cluster's CA"), std::string::npos);
}

TEST(Signature, WithSomebodyElsesCertificateIsRefused) {
  const TestCa ca;
  const auto one = ca.context(node_identity("gpu-1"));
  auto signature = ca.context(node_identity("gpu-2"))->sign("hello");
  signature->certificate = one->sign("hello")->certificate;
  EXPECT_FALSE(one->verify("hello", *signature));
}

// As TlsContext::sign, which no context does whose certificate has expired.
TlsContext::Signature sign_with(const CertifiedKey& pair, std::string_view text) {
  auto pem = [](const std::string& of) {
    return std::unique_ptr<BIO, decltype(&BIO_free)>(
        BIO_new_mem_buf(of.data(), static_cast<int>(of.size())), BIO_free);
  };
  X509* certificate = PEM_read_bio_X509(pem(pair.certificate).get(), nullptr, nullptr, nullptr);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(pem(pair.key).get(), nullptr, nullptr, nullptr);
  TlsContext::Signature signature;
  unsigned char* der = nullptr;
  const int length = i2d_X509(certificate, &der);
  signature.certificate.assign(reinterpret_cast<char*>(der), static_cast<std::size_t>(length));
  OPENSSL_free(der);
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  std::size_t size = 600;
  signature.bytes.resize(size);
  EXPECT_EQ(EVP_DigestSignInit(md, nullptr, EVP_sha256(), nullptr, key), 1);
  EXPECT_EQ(EVP_DigestSign(md, reinterpret_cast<unsigned char*>(signature.bytes.data()), &size,
                           reinterpret_cast<const unsigned char*>(text.data()), text.size()),
            1);
  signature.bytes.resize(size);
  EVP_MD_CTX_free(md);
  EVP_PKEY_free(key);
  X509_free(certificate);
  return signature;
}

TEST(Signature, OutlivesTheCertificate) {
  const TestCa ca;
  const auto now = std::chrono::system_clock::now();
  const Validity over{now - std::chrono::hours(2), now - std::chrono::hours(1)};
  const CertifiedKey expired = ca.issue(node_identity("gpu-1"), {}, over);
  auto who = ca.context(node_identity("gpu-2"))->verify("hello", sign_with(expired, "hello"));
  ASSERT_TRUE(who) << who.error().str();
  EXPECT_TRUE(who->is_node("gpu-1"));
}

TEST(Signature, GarbageIsRefused) {
  const TestCa ca;
  const auto context = ca.context(node_identity("gpu-1"));
  auto good = context->sign("hello");
  EXPECT_EQ(context->verify("hello", {}).error().code(), Errc::kInvalid);
  EXPECT_EQ(context->verify("hello", {"junk", good->bytes}).error().code(), Errc::kInvalid);
  EXPECT_EQ(context->verify("hello", {good->certificate + "x", good->bytes}).error().code(),
            Errc::kInvalid);
  EXPECT_EQ(context->verify("hello", {good->certificate, std::string(601, 'x')}).error().code(),
            Errc::kInvalid);
  for (std::size_t length = 0; length < good->certificate.size(); ++length) {
    EXPECT_FALSE(context->verify("hello", {good->certificate.substr(0, length), good->bytes}));
  }
}

}  // namespace
}  // namespace shoal::http
