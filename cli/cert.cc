// shoal cert ca|node|tracker

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/verb.h"
#include "core/base/unique_fd.h"
#include "core/http/certificate.h"
#include "core/http/identity.h"

namespace shoal::cli {
namespace {

constexpr std::uintmax_t kMaxPem = 1 << 20;

// Writes a file that must not exist yet.
Status write_new(const std::filesystem::path& path, const std::string& text, unsigned mode) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) {
    if (errno == EEXIST) {
      return fail(Errc::kConflict, path.string() +
                                       " exists already and is not overwritten: move it away "
                                       "first, or give another --out");
    }
    return fail(errno_error("writing " + path.string(), errno));
  }
  std::size_t done = 0;
  while (done < text.size()) {
    ssize_t written = ::write(fd.get(), text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      Error error = errno_error("writing " + path.string(), errno);
      ::unlink(path.c_str());
      return fail(error);
    }
    done += static_cast<std::size_t>(written);
  }
  if (::fsync(fd.get()) != 0) return fail(errno_error("writing " + path.string(), errno));
  return {};
}

Result<std::string> read_pem(const std::filesystem::path& path) {
  std::error_code ec;
  std::uintmax_t size = std::filesystem::file_size(path, ec);
  if (ec) {
    return fail(errno_error("reading " + path.string(), ec.value())
                    .with_context("the CA is needed (`shoal cert ca` makes one)"));
  }
  if (size > kMaxPem) return fail(Errc::kInvalid, path.string() + " is too large to be a PEM file");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return fail(Errc::kDenied, path.string() + " cannot be read");
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

class Cert final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.positionals(words_, "ca | node ID | tracker", 1, 2);
    table.add(out_,
              {.name = "out",
               .doc = "Directory for the files made: ca.crt and ca.key, ID.crt and ID.key, or "
                      "tracker.crt and tracker.key. Nothing is overwritten.",
               .example = "/etc/shoal",
               .flag_only = true});
    table.add(ca_, {.name = "ca",
                    .doc = "Directory of ca.crt and ca.key. Default: the same as --out.",
                    .example = "/root/shoal-ca",
                    .flag_only = true});
    table.add(names_, {.name = "names",
                       .doc = "DNS names and IP addresses under which the program is reached.",
                       .example = "shoal-tracker,10.0.0.7",
                       .flag_only = true});
    table.add(days_, {.name = "days",
                      .doc = "How long it is valid. Default: 3650 for a CA, 365 else.",
                      .example = "90",
                      .min = "1",
                      .max = "36500",
                      .flag_only = true});
    table.add(ca_name_, {.name = "ca-name",
                         .doc = "Common name of a new CA.",
                         .example = "Shoal CA of cluster-1",
                         .flag_only = true});
    table.usage_example("shoal cert ca --out pki",
                        "Makes the cluster's CA. Keep ca.key to yourself.");
    table.usage_example("shoal cert tracker --out pki --names shoal-tracker,10.0.0.7",
                        "Makes the tracker's certificate.");
    table.usage_example("shoal cert node gpu-17 --out pki",
                        "Makes the certificate of the agent with --node-id gpu-17.");
  }

  int run(Session& session) override {
    const std::string& kind = words_[0];
    if (kind == "node" ? words_.size() != 2 : words_.size() != 1) {
      return session.usage_error(kind == "node" ? "give the node's id: shoal cert node ID"
                                                : "unexpected argument '" + words_.back() + "'");
    }
    if (kind == "ca") return make_ca(session);
    if (kind == "tracker") return issue(session, http::tracker_identity(), "tracker");
    if (kind == "node") {
      if (!http::valid_node_id(words_[1])) {
        return session.usage_error("'" + words_[1] +
                                   "' cannot be a node id: use letters, digits, '.', '_' and '-'");
      }
      return issue(session, http::node_identity(words_[1]), words_[1]);
    }
    return session.usage_error("'" + kind + "' is no kind of certificate: ca, node or tracker");
  }

 private:
  http::Validity validity(int default_days) const {
    return http::Validity::for_next(std::chrono::hours(24) * days_.value_or(default_days));
  }

  int make_ca(Session& session) {
    Result<http::CertifiedKey> ca = http::make_ca(ca_name_, validity(3650));
    if (!ca) return session.fail_with(ca.error());
    return write(session, *ca, "ca");
  }

  int issue(Session& session, const http::Identity& identity, const std::string& name) {
    std::filesystem::path folder = ca_.value_or(out_);
    http::CertifiedKey ca;
    for (auto [file, text] : {std::pair{"ca.crt", &ca.certificate}, {"ca.key", &ca.key}}) {
      Result<std::string> pem = read_pem(folder / file);
      if (!pem) return session.fail_with(pem.error());
      *text = std::move(*pem);
    }
    Result<http::CertifiedKey> made = http::issue_certificate(ca, identity, names_, validity(365));
    if (!made) return session.fail_with(made.error());
    return write(session, *made, name);
  }

  int write(Session& session, const http::CertifiedKey& pair, const std::string& name) {
    std::error_code ec;
    std::filesystem::create_directories(out_, ec);
    if (ec) return session.fail_with(errno_error("making " + out_.string(), ec.value()));
    std::filesystem::path certificate = out_ / (name + ".crt");
    std::filesystem::path key = out_ / (name + ".key");
    // The key first: a certificate without its key looks finished and is not.
    if (Status written = write_new(key, pair.key, 0600); !written) {
      return session.fail_with(written.error());
    }
    if (Status written = write_new(certificate, pair.certificate, 0644); !written) {
      ::unlink(key.c_str());
      return session.fail_with(written.error());
    }
    session.out().print(certificate.string() + "\n" + key.string() + "\n");
    session.out().result({{"certificate", certificate.string()}, {"key", key.string()}}, true);
    return kExitOk;
  }

  std::vector<std::string> words_;
  std::filesystem::path out_ = ".";
  std::optional<std::filesystem::path> ca_;
  std::vector<std::string> names_;
  std::optional<int> days_;
  std::string ca_name_ = "Shoal CA";
};

}  // namespace

std::unique_ptr<Verb> make_cert() { return std::make_unique<Cert>(); }

}  // namespace shoal::cli
