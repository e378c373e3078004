#include "core/swarm/backoff.h"

#include <algorithm>

namespace shoal::swarm {

void Backoff::failed(Time now, SeededRandom& random, Duration at_least) {
  unsigned doublings = std::min(failures_, 30u);
  ++failures_;
  Duration whole = first_;
  for (unsigned i = 0; i < doublings && whole < most_; ++i) whole *= 2;
  whole = std::min(whole, most_);
  auto half = static_cast<double>(whole.count()) / 2;
  Duration wait(static_cast<Duration::rep>(half + half * random.unit()));
  until_ = std::max(until_, now + std::max(wait, at_least));
}

}  // namespace shoal::swarm
