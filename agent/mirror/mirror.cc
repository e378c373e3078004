#include "agent/mirror/mirror.h"

#include <utility>

#include "core/async/run_on.h"

namespace shoal::agent {

Mirror::Mirror(Executor control, Fills::Parts parts, Library& library,
               MirrorServer::Options options)
    : fills_(control, parts),
      content_(control, parts.store, library, parts.inventory, parts.catalogue, parts.pool, fills_),
      thread_("mirror"),
      server_(thread_.executor(), control, content_, parts.pool, std::move(options)) {}

Status Mirror::start() {
  Status started = thread_.run(server_.start());
  if (!started) return fail(started.error().with_context("mirror-listen"));
  return {};
}

Task<void> Mirror::stop(Deadline deadline) {
  // What answers have posted to this thread runs before this goes on.
  co_await run_on(thread_.executor(), server_.stop(deadline));
  co_await content_.stop();
  thread_.stop();
}

}  // namespace shoal::agent
