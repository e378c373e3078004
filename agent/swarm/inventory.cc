#include "agent/swarm/inventory.h"

namespace shoal::agent {

void Inventory::set(const store::Blob& blob) {
  content::PieceSet have = blob.have();
  board_.set(blob.digest(), blob.layout(), have);
  api::BlobState state = have.all() ? api::BlobState::kComplete : api::BlobState::kLive;
  report_.blob_added(blob.digest(), blob.layout(), std::move(have), state);
}

void Inventory::set_complete(const content::Digest& blob, std::uint64_t size) {
  content::BlobLayout layout(size);
  content::PieceSet have = content::PieceSet::full(layout.piece_count());
  board_.set(blob, layout, have);
  report_.blob_added(blob, layout, std::move(have), api::BlobState::kComplete);
}

void Inventory::added(const content::Digest& blob, content::PieceRange pieces) {
  board_.add(blob, pieces);
  report_.pieces_verified(blob, pieces);
}

void Inventory::lost(const store::Blob& blob, const content::PieceSet& pieces) {
  board_.remove_pieces(blob.digest(), pieces);
  report_.blob_added(blob.digest(), blob.layout(), blob.have(), api::BlobState::kLive);
}

void Inventory::complete(const content::Digest& blob) {
  report_.blob_state(blob, api::BlobState::kComplete);
}

void Inventory::failed(const content::Digest& blob) {
  board_.remove(blob);
  report_.blob_state(blob, api::BlobState::kFailed);
}

void Inventory::removed(const content::Digest& blob) {
  board_.remove(blob);
  report_.blob_removed(blob);
}

void Inventory::wanted(const content::Digest& blob, std::uint64_t size, bool wanted) {
  report_.blob_wanted(blob, size, wanted);
}

}  // namespace shoal::agent
