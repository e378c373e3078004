#include "agent/origin/hf_origin.h"

#include <algorithm>
#include <utility>

#include "agent/origin/text.h"
#include "core/content/manifest.h"

namespace shoal::agent {
namespace {

constexpr std::size_t kMaxToken = 4096;
constexpr std::size_t kMaxRevision = 16 * 1024 * 1024;  // it lists all files too
constexpr int kMaxPages = 1000;

OriginStatus failed(Error error) { return {fail(std::move(error)), {}}; }

// "W/\"abc\"" and "\"abc\"" as abc.
std::string bare_etag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  return std::string(etag);
}

}  // namespace

const std::vector<std::string>& HfOrigin::usual_hosts() {
  static const std::vector<std::string> hosts{"huggingface.co", "*.huggingface.co", "hf.co",
                                              "*.hf.co"};
  return hosts;
}

std::string HfOrigin::endpoint_of(const Environment& environment) {
  std::string endpoint = environment.get("HF_ENDPOINT");
  if (endpoint.empty()) endpoint = "https://huggingface.co";
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return endpoint;
}

HfOrigin::HfOrigin(std::string endpoint, Environment environment,
                   std::unique_ptr<HttpClient> client)
    : endpoint_(std::move(endpoint)),
      environment_(std::move(environment)),
      client_(std::move(client)) {}

HfOrigin::~HfOrigin() = default;

void HfOrigin::tidy() { client_->tidy(); }

std::string HfOrigin::token() const {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    std::string token(trim(environment_.get(name)));
    if (!token.empty()) return token;
  }
  std::string path = environment_.get("HF_TOKEN_PATH");
  if (path.empty()) {
    std::string home = environment_.get("HF_HOME");
    path = home.empty() ? environment_.home(".cache/huggingface/token") : home + "/token";
  }
  if (path.empty()) return {};
  auto text = read_small_file(path, kMaxToken);
  return text && *text ? std::string(trim(**text)) : std::string();
}

HttpCall HfOrigin::call_to(std::string url) const {
  HttpCall call;
  call.url = std::move(url);
  call.authorize = [this](const HttpCall&, const std::string&) -> Result<HeaderList> {
    std::string token = this->token();
    if (token.empty()) return HeaderList{};
    return HeaderList{{"Authorization", "Bearer " + token}};
  };
  return call;
}

HttpFile HfOrigin::file_for(const HfPlace& place, const std::string& wanted) const {
  HttpFile file;
  file.call = call_to(hf_file_url(endpoint_, place));
  const std::string commit = place.revision;
  file.version = [commit, wanted](const HttpHead& head, const HttpHead& first) -> std::string {
    // A commit's file cannot change, and the server says that this is the commit.
    if (!wanted.empty() && first.header("x-repo-commit") == commit) return wanted;
    std::string_view linked = first.header("x-linked-etag");
    return bare_etag(linked.empty() ? head.header("etag") : linked);
  };
  file.error = [this, place](const HttpAnswer& answer) { return error_of(place, answer); };
  return file;
}

OriginStatus HfOrigin::error_of(const HfPlace& place, const HttpAnswer& answer) const {
  if (!answer.result.status) return answer.result;
  OriginStatus usual = http_error(answer.head);
  std::string code(answer.head.header("x-error-code"));
  if (code.empty()) code = std::string(answer.first.header("x-error-code"));
  const bool known = !token().empty();
  const std::string repo = "hf://" + place.repo;
  const std::string page =
      endpoint_ + "/" + (place.type == "models" ? "" : place.type + "/") + place.repo;
  if (code == "GatedRepo") {
    return failed(Error(
        Errc::kDenied,
        repo + " is gated: accept its conditions at " + page +
            (known ? " with the account that this node's HF_TOKEN belongs to (or it has no right "
                     "to read gated repositories)"
                   : ", then give this node a token of that account in HF_TOKEN")));
  }
  if (code == "RevisionNotFound") {
    return failed(Error(Errc::kNotFound, repo + " has no revision '" + place.revision + "'"));
  }
  if (code == "EntryNotFound") {
    return failed(Error(Errc::kNotFound,
                        repo + " has no file '" + place.path + "' at revision " + place.revision));
  }
  if (code == "RepoNotFound" || answer.head.status == 401) {
    return failed(Error(known ? Errc::kNotFound : Errc::kDenied,
                        known
                            ? repo + " does not exist, or this node's HF_TOKEN may not see it"
                            : repo + " does not exist, or is private: this node has no HF_TOKEN"));
  }
  if (answer.head.status == 403) {
    return failed(Error(Errc::kDenied, "the Hub answers 403 for " + repo +
                                           (known ? ": this node's HF_TOKEN has no right to read it"
                                                  : ": this node has no HF_TOKEN")));
  }
  return usual;
}

OriginStatus HfOrigin::pages_of(const HfPlace& place, std::vector<HfFile>& files,
                                const CancelFlag& cancel) {
  std::string url = hf_tree_url(endpoint_, place);
  for (int pages = 0; !url.empty(); ++pages) {
    if (pages == kMaxPages) {
      return failed(Error(Errc::kInvalid, "the Hub's listing does not end"));
    }
    // A next page elsewhere would get this node's token.
    if (http_place(url) != http_place(endpoint_)) {
      return failed(Error(Errc::kDenied, "the Hub's listing goes on at another host"));
    }
    HttpAnswer answer = client_->document(call_to(url), kMaxHfPage, cancel);
    if (!answer.ok()) return error_of(place, answer);
    Result<std::vector<HfFile>> page = parse_hf_tree(answer.text);
    if (!page) return failed(page.error());
    if (files.size() + page->size() > 10 * content::kMaxModelFiles) {
      return failed(Error(Errc::kInvalid, "the Hub's listing has too many files"));
    }
    files.insert(files.end(), page->begin(), page->end());
    url = next_link(answer.head.header("link"));
  }
  return {};
}

OriginStatus HfOrigin::list(const OriginQuery& query, OriginListing& found,
                            const CancelFlag& cancel) {
  Result<HfPlace> place = parse_hf_url(query.source);
  if (!place) return failed(place.error());
  HttpAnswer answer =
      client_->document(call_to(hf_revision_url(endpoint_, *place)), kMaxRevision, cancel);
  if (!answer.ok()) return error_of(*place, answer);
  Result<std::string> commit = parse_hf_revision(answer.text);
  if (!commit) return failed(commit.error());
  place->revision = *commit;
  std::vector<HfFile> files;
  OriginStatus listed = pages_of(*place, files, cancel);
  if (!listed.status) return listed;
  found.source = place->str();
  found.annotations.emplace(kHfCommitAnnotation, *commit);
  const std::string folder = place->path.empty() ? "" : place->path + "/";
  for (const HfFile& file : files) {
    if (!file.path.starts_with(folder)) continue;
    HfPlace at = *place;
    at.path = file.path;
    Status added = found.add(query, std::string_view(file.path).substr(folder.size()),
                             {at.str(), file.size, file.oid}, file.digest);
    if (!added) return failed(added.error());
  }
  return {found.finish(), {}};
}

OriginStatus HfOrigin::probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) {
  Result<HfPlace> place = parse_hf_url(url);
  if (!place) return failed(place.error());
  file.url = url;
  return probe_http_file(*client_, file_for(*place, ""), file, cancel);
}

OriginStatus HfOrigin::read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                            const CancelFlag& cancel) {
  Result<HfPlace> place = parse_hf_url(file.url);
  if (!place) return failed(place.error());
  return read_http_file(*client_, file_for(*place, file.version), file.version, range, sink,
                        cancel);
}

}  // namespace shoal::agent
