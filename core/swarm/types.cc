#include "core/swarm/types.h"

namespace shoal::swarm {
namespace {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
constexpr std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

std::string_view class_name(Class cls) {
  switch (cls) {
    case Class::kFault:
      return "fault";
    case Class::kWindow:
      return "window";
    case Class::kPlan:
      return "plan";
    case Class::kPrefetch:
      return "prefetch";
    case Class::kBackground:
      return "background";
  }
  return "?";
}

std::string_view lease_kind_name(LeaseKind kind) {
  switch (kind) {
    case LeaseKind::kOrigin:
      return "origin";
    case LeaseKind::kRack:
      return "rack";
  }
  return "?";
}

std::string_view lease_refusal_name(LeaseRefusal refusal) {
  switch (refusal) {
    case LeaseRefusal::kStarting:
      return "starting";
    case LeaseRefusal::kBusy:
      return "busy";
    case LeaseRefusal::kTaken:
      return "taken";
    case LeaseRefusal::kNoOrigin:
      return "no_origin";
  }
  return "?";
}

Locality locality_between(const Topology& a, const Topology& b) {
  if (a.region != b.region) return Locality::kFar;
  if (a.zone != b.zone) return Locality::kRegion;
  if (a.rack != b.rack) return Locality::kZone;
  return !a.host.empty() && a.host == b.host ? Locality::kHost : Locality::kRack;
}

std::uint64_t node_key(std::string_view node_id) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, 64 bits
  for (char c : node_id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return mix(hash);
}

std::uint64_t rank_hash(std::uint64_t key, std::uint64_t blob_key, std::uint32_t run) {
  return mix(key ^ mix(blob_key + 0x9e3779b97f4a7c15 * (std::uint64_t{run} + 1)));
}

}  // namespace shoal::swarm
