// shoal torrent export NAME:TAG

#include "core/content/torrent.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/target_tree.h"
#include "cli/text.h"
#include "cli/verb.h"
#include "core/base/unique_fd.h"
#include "core/base/units.h"
#include "core/content/manifest.h"
#include "core/content/reference.h"
#include "core/content/relative_path.h"

namespace shoal::cli {
namespace {

// A tracker that is asked for too many piece tables at once says so; a fleet that begins to pull a
// model keeps it busy for some seconds.
constexpr std::chrono::milliseconds kFirstPause{100};
constexpr std::chrono::milliseconds kLongestPause{2'000};
constexpr int kTableTries = 20;
constexpr std::size_t kShortDigest = 12;  // hex digits that stand for a digest in a file's name

// "llama-8b-v1.torrent" for llama/8b:v1.
std::string default_file(const content::Reference& reference) {
  std::string name = reference.name();
  std::replace(name.begin(), name.end(), '/', '-');
  const std::string which = reference.tag() != nullptr
                                ? *reference.tag()
                                : reference.digest()->hex().substr(0, kShortDigest);
  return name + "-" + which + ".torrent";
}

// A descriptor to read `text` from, from its beginning.
Result<UniqueFd> in_memory(const std::string& text) {
  UniqueFd fd(::memfd_create("torrent", MFD_CLOEXEC));
  if (!fd) return fail(errno_error("memfd_create", errno));
  for (std::size_t done = 0; done < text.size();) {
    ssize_t count = ::write(fd.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(errno_error("writing to memory", errno));
    done += static_cast<std::size_t>(count);
  }
  return fd;
}

class TorrentVerb final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.positionals(words_, "export NAME:TAG", 2, 2);
    table.add(output_, {.name = "output",
                        .doc = "File to write, a folder to write it into, or - for standard "
                               "output. Default: NAME-TAG.torrent here, with - for each / of NAME.",
                        .example = "llama-8b.torrent",
                        .flag_only = true,
                        .short_flag = 'o'});
    table.add(announce_,
              {.name = "announce",
               .doc = "URL of a BitTorrent tracker; several are tried in the order given.",
               .example = "http://tracker.example:6881/announce",
               .flag_only = true});
    table.add(
        force_,
        {.name = "force", .doc = "Replace a file that is there and differs.", .flag_only = true});
    table.usage_example(
        "shoal torrent export llama/8b:v1 --announce http://tracker.example:6881/announce",
        "Writes llama-8b-v1.torrent, which any BitTorrent v2 client can load, and shows its "
        "info-hash and magnet link. No file of the model is read. A client can seed what `shoal "
        "pull` wrote, in a directory called as the torrent is.");
    table.usage_example("shoal torrent export llama/8b:v1 -o /srv/torrents",
                        "The same in another folder and without a tracker.");
    table.usage_example("shoal torrent export llama/8b:v1 -o - | ssh seeder 'cat > 8b.torrent'",
                        "Nothing but the torrent on standard output.");
  }

  int run(Session& session) override {
    if (words_[0] != "export") {
      return session.usage_error(
          "'" + printable(words_[0]) +
          "' is nothing to do with a torrent: shoal torrent export NAME:TAG");
    }
    Result<content::Reference> reference = content::Reference::parse(words_[1]);
    if (!reference) return session.usage_error(reference.error().message());
    if (auto urls = content::announce_urls(announce_); !urls) {
      return session.usage_error("--announce: " + urls.error().message());
    }
    const bool to_standard_output = output_ == "-";
    if (to_standard_output && session.globals().json) {
      return session.usage_error("-o - and --json would both write to standard output");
    }
    Result<Exported> exported = make(session, *reference);
    if (!exported) return session.fail_with(exported.error());
    if (to_standard_output) {
      session.out().print(exported->torrent.bytes);
      return kExitOk;
    }
    std::filesystem::path file = target(*reference);
    Result<bool> written = write(session, file, exported->torrent.bytes);
    if (!written) return session.fail_with(written.error());
    return report(session, *reference, *exported, file, *written);
  }

 private:
  struct Exported {
    content::Digest manifest_digest;
    content::ModelManifest manifest;
    std::uint64_t piece_length = 0;
    content::Torrent torrent;
  };

  Result<Exported> make(Session& session, const content::Reference& reference) {
    Result<std::unique_ptr<TrackerApi>> tracker = session.tracker();
    if (!tracker) return fail(tracker.error());
    Result<api::Resolved> resolved = (*tracker)->resolve(reference.str());
    if (!resolved) return fail(resolved.error());
    Result<std::string> text = (*tracker)->manifest(resolved->manifest);
    if (!text) return fail(text.error());
    Result<content::ModelManifest> manifest = content::ModelManifest::parse(*text);
    if (!manifest) {
      return fail(manifest.error().with_context("torrents are made of models, and " +
                                                reference.str() + " is none that can be read"));
    }
    Result<content::ModelTorrent> torrent =
        content::ModelTorrent::of(*manifest, resolved->manifest);
    if (!torrent) return fail(torrent.error());
    for (const content::ModelFile& file : torrent->missing()) {
      Result<content::PieceTable> table = table_of(session, **tracker, file);
      if (!table) return fail(table.error());
      SHOAL_TRY(torrent->add(*table));
    }
    Result<content::Torrent> finished = torrent->finish(announce_);
    if (!finished) return fail(finished.error());
    return Exported{resolved->manifest, *std::move(manifest), torrent->piece_length(),
                    *std::move(finished)};
  }

  static Result<content::PieceTable> table_of(Session& session, TrackerApi& tracker,
                                              const content::ModelFile& file) {
    std::chrono::milliseconds pause = kFirstPause;
    for (int tries = 1;; ++tries) {
      Result<content::PieceTable> table = tracker.table(file.digest);
      if (table) return table;
      if (table.error().code() == Errc::kNotFound) {
        return fail(Errc::kNotFound,
                    "the catalogue has no piece table of " + file.path.str() + " (" +
                        file.digest.str() +
                        "): publish the model with `shoal publish`, which makes the tables");
      }
      if (table.error().code() != Errc::kOverloaded || tries == kTableTries) {
        return fail(table.error().with_context(file.path.str()));
      }
      if (!session.pause(pause)) return fail(Errc::kCancelled, "interrupted");
      pause = std::min(2 * pause, kLongestPause);
    }
  }

  std::filesystem::path target(const content::Reference& reference) const {
    if (!output_) return default_file(reference);
    std::error_code ec;
    const bool folder = std::filesystem::is_directory(*output_, ec) || !output_->has_filename();
    return folder ? *output_ / default_file(reference) : *output_;
  }

  // False if the file was there and has these bytes. Errors: conflict when it has others.
  Result<bool> write(Session& session, const std::filesystem::path& file,
                     const std::string& bytes) const {
    Result<content::RelativePath> name = content::RelativePath::parse(file.filename().native());
    if (!name) return fail(name.error());
    Result<TargetTree> folder =
        TargetTree::open(file.has_parent_path() ? file.parent_path() : std::filesystem::path("."));
    if (!folder) return fail(folder.error());
    Result<UniqueFd> source = in_memory(bytes);
    if (!source) return fail(source.error());
    TargetTree::Advance advance = [&](std::uint64_t) { return !session.interrupted(); };
    Result<TargetTree::Present> present =
        folder->compare(*name, source->get(), bytes.size(), advance);
    if (!present) return fail(present.error());
    switch (*present) {
      case TargetTree::Present::kSame:
        return false;
      case TargetTree::Present::kObstacle:
        return fail(Errc::kConflict, file.string() + " is in the way and is no file");
      case TargetTree::Present::kDifferent:
        if (!force_) {
          return fail(Errc::kConflict, "a different file is in " + file.string() +
                                           " already; nothing was written (--force replaces it)");
        }
        break;
      case TargetTree::Present::kAbsent:
        break;
    }
    Result<Written> written = folder->write(*name, source->get(), bytes.size(), advance);
    if (!written) return fail(written.error());
    return true;
  }

  static int report(Session& session, const content::Reference& reference, const Exported& exported,
                    const std::filesystem::path& file, bool written) {
    const content::Torrent& torrent = exported.torrent;
    const content::ModelManifest& manifest = exported.manifest;
    session.out().print("file       " + printable(file.string()) + "\n" +  //
                        "name       " + torrent.name + "\n" + "info-hash  " +
                        torrent.info_hash.hex() + "\n" + "magnet     " + torrent.magnet() + "\n");
    session.out().remark(counted(manifest.files.size(), "file") + ", " +
                         format_bytes(manifest.total_size()) + " in pieces of " +
                         format_bytes(exported.piece_length) +
                         (written ? "" : "; the file was there already"));
    if (torrent.announce.empty()) {
      session.out().remark(
          "no --announce: clients find one another by DHT, or by addresses they are given");
    }
    session.out().result({{"reference", reference.str()},
                          {"manifest", exported.manifest_digest.str()},
                          {"file", file.string()},
                          {"written", written},
                          {"name", torrent.name},
                          {"info_hash", torrent.info_hash.hex()},
                          {"magnet", torrent.magnet()},
                          {"announce", torrent.announce},
                          {"piece_length", exported.piece_length},
                          {"files", manifest.files.size()},
                          {"bytes_total", manifest.total_size()}},
                         true);
    return kExitOk;
  }

  std::vector<std::string> words_;
  std::optional<std::filesystem::path> output_;
  std::vector<std::string> announce_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_torrent() { return std::make_unique<TorrentVerb>(); }

}  // namespace shoal::cli
