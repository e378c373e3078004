#include "agent/bittorrent/seeder.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/async/io_thread.h"
#include "core/content/manifest.h"
#include "tests/agent/temp_store.h"

namespace shoal::agent::bittorrent {
namespace {

constexpr std::chrono::seconds kPatience{60};

struct Known {
  content::Digest manifest;
  content::TruncatedInfoHash torrent{};
};

class SeederTest : public ::testing::Test {
 protected:
  // On the control thread; waits.
  template <typename F>
  auto on_control(F work) {
    using Value = std::invoke_result_t<F>;
    std::promise<Value> promise;
    control_.post([&] {
      if constexpr (std::is_void_v<Value>) {
        work();
        promise.set_value();
      } else {
        promise.set_value(work());
      }
    });
    return promise.get_future().get();
  }

  ~SeederTest() override {
    if (!seeder_) return;
    control_.run(seeder_->stop());
    on_control([&] { seeder_.reset(); });
    blobs_.clear();
  }

  void start(Rate limit = Rate()) {
    gate_ = std::make_unique<UploadGate>(limit, swarm::UploadSlots::Options{.bulk = 4});
    on_control([&] {
      Session::Options options{"127.0.0.1:0", "http://127.0.0.1:1/announce", "test", limit};
      seeder_ = std::make_unique<Seeder>(control_.executor(),
                                         Seeder::Parts{*store_, blobs_, library_, *gate_, pool_},
                                         std::move(options), [this] { return names(this); });
      ASSERT_TRUE(seeder_->start());
    });
  }

  // Knows the model, and has those of its files that `here` names; null: all.
  Known add(const std::string& title, const std::map<std::string, std::uint64_t>& sizes,
            const std::set<std::string>* here = nullptr, const std::string& config = "one") {
    std::vector<content::ModelFile> files;
    for (const auto& [path, size] : sizes) {
      TestBlob blob = make_blob(size, std::hash<std::string>()(path) ^ size);
      if (size > 0 && (here == nullptr || here->contains(path))) store_.full(blob);
      files.push_back({content::RelativePath::parse(path).value(), blob.table.digest(), size,
                       blob.table.pieces_root(), ""});
      made_.emplace(path, std::move(blob));
    }
    std::map<std::string, std::string> annotations{{"org.example.config", config}};
    auto model = content::make_model(title, files, std::nullopt, annotations).value();
    EXPECT_TRUE(library_.record("m/" + title + ":" + config, model.manifest_json, {}));
    Known known{model.manifest_digest, {}};
    if (auto torrent = content::ModelTorrent::of(model.manifest, model.manifest_digest)) {
      known.torrent = torrent->info_hash().value().truncated();
    }
    return known;
  }
  void name(const content::Digest& manifest) {
    on_control([&] { names_.insert(manifest); });
  }
  // The tracker says that no reference names it any more.
  void lose(const Known& known) {
    on_control([&] {
      names_.erase(known.manifest);
      seeder_->unnamed({known.manifest});
    });
  }
  void look() {
    on_control([&] { seeder_->look_soon(); });
  }
  bool seeds(const Known& known) {
    return on_control([&] { return seeder_->seeds(known.torrent); });
  }
  bool comes_to(const Known& known, bool seeded) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      if (seeds(known) == seeded) return true;
    }
    return false;
  }
  // Until it has asked for names again, and looked at all models with what it heard.
  void wait_for_a_look() {
    const int before = on_control([&] { return asked_; });
    on_control([&] { seeder_->names_changed(); });
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (on_control([&] { return asked_; }) < before + 2 &&
           std::chrono::steady_clock::now() < end) {
      on_control([&] { seeder_->names_changed(); });
    }
  }

  static Task<Result<std::set<content::Digest>>> names(SeederTest* test) {
    ++test->asked_;
    if (test->refuse_) co_return fail(Errc::kUnavailable, "no tracker");
    auto names = test->names_;
    if (test->while_asking_) std::exchange(test->while_asking_, {})();
    co_return names;
  }

  TempStore store_;
  BlobCache blobs_{*store_};
  Library library_{*store_};
  BlockingPool pool_{"disk", 2, 100};
  std::unique_ptr<UploadGate> gate_;
  IoThread control_{"control"};
  std::unique_ptr<Seeder> seeder_;
  std::map<std::string, TestBlob> made_;
  // Control thread only
  std::set<content::Digest> names_;
  bool refuse_ = false;
  int asked_ = 0;
  std::function<void()> while_asking_;  // once; after the answer was made
};

TEST_F(SeederTest, SeedsWhatIsWholeHereAndNamed) {
  const std::set<std::string> part{"b1"};
  Known whole = add("whole", {{"a1", 100'000}, {"a2", 0}});
  Known partial = add("partial", {{"b1", 10}, {"b2", 200'000}}, &part);
  Known nameless = add("nameless", {{"c", 70'000}});
  names_ = {whole.manifest, partial.manifest};
  start();
  EXPECT_TRUE(comes_to(whole, true));
  wait_for_a_look();
  EXPECT_FALSE(seeds(partial));
  EXPECT_FALSE(seeds(nameless));

  store_.full(made_.at("b2"));
  name(nameless.manifest);
  look();
  EXPECT_TRUE(comes_to(partial, true));
  wait_for_a_look();
  EXPECT_TRUE(comes_to(nameless, true));
}

TEST_F(SeederTest, StopsWhenTheLastReferenceGoes) {
  Known model = add("model", {{"a", 100'000}});
  Known other = add("other", {{"b", 100'000}});
  names_ = {model.manifest, other.manifest};
  start();
  EXPECT_TRUE(comes_to(model, true));
  EXPECT_TRUE(comes_to(other, true));
  lose(model);
  EXPECT_FALSE(seeds(model));
  wait_for_a_look();
  EXPECT_FALSE(seeds(model));
  EXPECT_TRUE(seeds(other));
  // While the tracker was away.
  on_control([&] { names_.clear(); });
  wait_for_a_look();
  EXPECT_TRUE(comes_to(other, false));
}

TEST_F(SeederTest, AnAnswerThatIsOlderThanARemovalDoesNotUndoIt) {
  Known model = add("model", {{"a", 100'000}});
  names_ = {model.manifest};
  start();
  EXPECT_TRUE(comes_to(model, true));
  std::promise<void> removed;
  on_control([&] {
    while_asking_ = [&] {
      names_.erase(model.manifest);
      seeder_->unnamed({model.manifest});
      refuse_ = true;  // nothing newer follows
      removed.set_value();
    };
    seeder_->names_changed();
  });
  removed.get_future().get();
  wait_for_a_look();
  EXPECT_FALSE(seeds(model));
}

TEST_F(SeederTest, TwoManifestsMayBeOneTorrent) {
  Known first = add("model", {{"a", 100'000}}, nullptr, "one");
  Known second = add("model", {{"a", 100'000}}, nullptr, "two");
  ASSERT_NE(first.manifest, second.manifest);
  ASSERT_EQ(first.torrent, second.torrent);
  names_ = {first.manifest, second.manifest};
  start();
  EXPECT_TRUE(comes_to(first, true));
  wait_for_a_look();
  lose(first);
  EXPECT_TRUE(seeds(second));
  lose(second);
  EXPECT_FALSE(seeds(second));
}

TEST_F(SeederTest, AModelWithoutOneOfItsFilesIsNotSeededUntilItIsBack) {
  Known model = add("model", {{"a", 100'000}, {"b", 100'000}});
  names_ = {model.manifest};
  start();
  EXPECT_TRUE(comes_to(model, true));
  const content::Digest gone = made_.at("b").table.digest();
  ASSERT_TRUE(store_->remove(gone));
  on_control([&] { seeder_->blob_gone(gone); });
  EXPECT_TRUE(comes_to(model, false));
  store_.full(made_.at("b"));
  look();
  EXPECT_TRUE(comes_to(model, true));
  store_->find(gone).value()->withdraw("it lies");
  on_control([&] { seeder_->blob_gone(gone); });
  EXPECT_TRUE(comes_to(model, false));
}

TEST_F(SeederTest, GoesOnWithTheNamesItKnowsWithoutTheTracker) {
  Known model = add("model", {{"a", 100'000}});
  names_ = {model.manifest};
  refuse_ = true;
  start();
  wait_for_a_look();
  EXPECT_FALSE(seeds(model));
  on_control([&] {
    refuse_ = false;
    seeder_->names_changed();
  });
  EXPECT_TRUE(comes_to(model, true));
  on_control([&] {
    refuse_ = true;
    names_.clear();
  });
  wait_for_a_look();
  EXPECT_TRUE(seeds(model));
}

TEST_F(SeederTest, AModelThatNoTorrentCanBeMadeOfDoesNotDisturbTheOthers) {
  Known nothing = add("nothing", {{"empty", 0}});
  Known model = add("model", {{"a", 100'000}});
  names_ = {nothing.manifest, model.manifest};
  start();
  EXPECT_TRUE(comes_to(model, true));
}

TEST_F(SeederTest, MayBeStoppedAtAnyMoment) {
  Known model = add("model", {{"a", 3 * kMiB}});
  for (int i = 0; i < 10; ++i) {
    names_ = {model.manifest};
    start();
    for (int turn = 0; turn < i; ++turn) look();
    control_.run(seeder_->stop());
    on_control([&] { seeder_.reset(); });
  }
}

}  // namespace
}  // namespace shoal::agent::bittorrent
