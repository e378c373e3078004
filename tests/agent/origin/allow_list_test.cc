#include "agent/origin/allow_list.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace shoal::agent {
namespace {

AllowList make(std::vector<std::string> entries) {
  Result<AllowList> list = AllowList::parse(entries);
  EXPECT_TRUE(list) << list.error().str();
  return *list;
}

bool address_allowed(const AllowList& list, const std::string& host, const char* address,
                     std::uint16_t port = 443) {
  sockaddr_in v4{};
  if (::inet_pton(AF_INET, address, &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    return list.check_address(host, port, reinterpret_cast<sockaddr&>(v4)).has_value();
  }
  sockaddr_in6 v6{};
  EXPECT_EQ(::inet_pton(AF_INET6, address, &v6.sin6_addr), 1) << address;
  v6.sin6_family = AF_INET6;
  return list.check_address(host, port, reinterpret_cast<sockaddr&>(v6)).has_value();
}

TEST(AllowList, RefusesEveryHostWhenEmptyAndNamesTheLineToAdd) {
  Status status = make({}).check_host("models.example.org", 443);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Errc::kDenied);
  EXPECT_NE(status.error().message().find("add 'models.example.org' to origin-allow"),
            std::string::npos);
}

TEST(AllowList, HostEntryAllowsThatNameInAnyCaseAndPort) {
  AllowList list = make({"Models.example.org"});
  EXPECT_TRUE(list.check_host("models.EXAMPLE.org", 80));
  EXPECT_FALSE(list.check_host("evil-models.example.org", 80));
  EXPECT_FALSE(list.check_host("models.example.org.evil.net", 80));
}

TEST(AllowList, PortEntryAllowsThatPortOnly) {
  AllowList list = make({"minio:9000", "[fd00::1]:81"});
  EXPECT_TRUE(list.check_host("minio", 9000));
  EXPECT_FALSE(list.check_host("minio", 9001));
  EXPECT_TRUE(list.check_host("fd00::1", 81));
  EXPECT_FALSE(list.check_host("fd00::1", 80));
}

TEST(AllowList, WildcardCoversNamesBelowButNoPrivateAddress) {
  AllowList list = make({"*.example.org"});
  EXPECT_TRUE(list.check_host("a.b.example.org", 443));
  EXPECT_FALSE(list.check_host("example.org", 443));
  EXPECT_TRUE(address_allowed(list, "a.example.org", "93.184.216.34"));
  EXPECT_FALSE(address_allowed(list, "a.example.org", "10.1.2.3"));
}

TEST(AllowList, ExactNameMayResolveToAPrivateAddress) {
  AllowList list = make({"minio.storage.svc"});
  EXPECT_TRUE(address_allowed(list, "minio.storage.svc", "10.96.0.7"));
}

TEST(AllowList, PrefixAllowsAddressesWhateverTheName) {
  AllowList list = make({"10.96.0.0/12", "fd00::/8"});
  EXPECT_TRUE(list.check_host("any.name", 80));  // decided by its address
  EXPECT_TRUE(address_allowed(list, "any.name", "10.100.0.1"));
  EXPECT_FALSE(address_allowed(list, "any.name", "10.112.0.1"));
  EXPECT_TRUE(address_allowed(list, "any.name", "fd12::1"));
  EXPECT_FALSE(address_allowed(list, "any.name", "8.8.8.8"));
  EXPECT_TRUE(list.check_host("10.97.1.1", 80));
  EXPECT_FALSE(list.check_host("192.168.0.1", 80));
}

TEST(AllowList, SpecialAddressesStayRefusedInEverySpelling) {
  AllowList list = make({"*.example.org"});
  for (const char* address :
       {"0.0.0.0", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.1.1", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fd00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1"}) {
    EXPECT_FALSE(address_allowed(list, "a.example.org", address)) << address;
  }
}

TEST(AllowList, DirectoryEntryCoversItAndWhatIsBelow) {
  AllowList list = make({"dir:/srv/models/"});
  EXPECT_TRUE(list.check_directory("/srv/models"));
  EXPECT_TRUE(list.check_directory("/srv/models/llama/a.bin"));
  EXPECT_FALSE(list.check_directory("/srv/models-secret/a.bin"));
  Status refused = list.check_directory("/etc/shadow");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("add 'dir:/etc' to origin-allow"), std::string::npos);
  EXPECT_TRUE(make({"dir:/"}).check_directory("/etc/shadow"));
}

TEST(AllowList, RefusesEntriesThatMeanNothing) {
  for (const char* entry : {"", "a b", "host:0", "host:99999", "host:", "10.0.0.0/33", "10.0/8",
                            "fd00::/129", "dir:relative", "[::1", "[::1]x", "*.", "http://host"}) {
    std::vector<std::string> entries{entry};
    Result<AllowList> list = AllowList::parse(entries);
    ASSERT_FALSE(list) << entry;
    EXPECT_EQ(list.error().code(), Errc::kInvalid) << entry;
  }
}

}  // namespace
}  // namespace shoal::agent
