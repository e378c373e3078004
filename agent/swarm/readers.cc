#include "agent/swarm/readers.h"

#include <algorithm>
#include <utility>

namespace shoal::agent {
namespace {

constexpr swarm::Class kClasses[] = {swarm::Class::kFault, swarm::Class::kWindow,
                                     swarm::Class::kPlan};

const Readers::Want* of_class(const std::vector<Readers::Want>& wants, swarm::Class cls) {
  auto it = std::find_if(wants.begin(), wants.end(),
                         [cls](const Readers::Want& want) { return want.cls == cls; });
  return it == wants.end() ? nullptr : &*it;
}

}  // namespace

void Readers::want(Id reader, const content::Digest& blob, std::vector<Want> wants) {
  assert_owner_thread();
  std::vector<Want> before;
  if (auto it = wants_.find(blob); it != wants_.end()) {
    if (auto own = it->second.find(reader); own != it->second.end()) {
      before = std::move(own->second);
      it->second.erase(own);
    }
    if (it->second.empty()) wants_.erase(it);
  }
  if (!wants.empty()) wants_[blob][reader] = wants;
  for (swarm::Class cls : kClasses) {
    const Want* old_want = of_class(before, cls);
    const Want* new_want = of_class(wants, cls);
    const bool same =
        old_want != nullptr && new_want != nullptr ? *old_want == *new_want : old_want == new_want;
    if (same) continue;
    // Ending a class cancels what is on its way for it, also for others, so it is ended only where
    // that takes something away.
    if (old_want == nullptr || wanted_still(blob, *old_want)) {
      if (new_want != nullptr && fetcher_.contains(blob)) tell(blob, *new_want);
    } else {
      refresh(blob, cls);
    }
  }
}

// Whether somebody wants all of it, and not only by some time.
bool Readers::wanted_still(const content::Digest& blob, const Want& old_want) const {
  if (swarm::is_urgent(old_want.cls)) return false;
  auto it = wants_.find(blob);
  if (it == wants_.end()) return false;
  auto holds = [&](content::PieceRange pieces) {
    return std::any_of(it->second.begin(), it->second.end(), [&](const auto& entry) {
      const Want* want = of_class(entry.second, old_want.cls);
      return want != nullptr &&
             std::any_of(want->pieces.begin(), want->pieces.end(), [&](content::PieceRange wanted) {
               return overlap(wanted, pieces) == pieces;
             });
    });
  };
  return std::all_of(old_want.pieces.begin(), old_want.pieces.end(), holds);
}

void Readers::tell(const content::Digest& blob, const Want& want) {
  for (content::PieceRange pieces : want.pieces) {
    fetcher_.want(blob, pieces, want.cls, want.deadline);
  }
}

void Readers::end(Id reader) {
  std::vector<content::Digest> blobs;
  for (const auto& [blob, readers] : wants_) {
    if (readers.contains(reader)) blobs.push_back(blob);
  }
  for (const content::Digest& blob : blobs) end(reader, blob);
}

void Readers::renew(const content::Digest& blob) {
  for (swarm::Class cls : kClasses) refresh(blob, cls);
}

void Readers::refresh(const content::Digest& blob, swarm::Class cls) {
  if (!fetcher_.contains(blob)) return;
  fetcher_.unwant(blob, cls);
  auto it = wants_.find(blob);
  if (it == wants_.end()) return;
  for (const auto& [reader, wants] : it->second) {
    if (const Want* want = of_class(wants, cls)) tell(blob, *want);
  }
}

}  // namespace shoal::agent
