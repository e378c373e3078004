// Messages from many threads to one: the receiving thread is woken once per batch, not once per
// message.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace shoal::agent {

// Thread: push() from any thread; `receive` runs on the context's thread.
// Lifetime: the context must be stopped, or run dry, before the mailbox is destroyed.
template <typename Message>
class Mailbox {
 public:
  using Receive = std::function<void(std::vector<Message>&)>;

  Mailbox(boost::asio::io_context& context, Receive receive)
      : context_(context), receive_(std::move(receive)) {}
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Unbounded by itself: senders are bounded by the orders they work on, each of which sends a
  // bounded number of messages.
  void push(Message message) {
    bool wake = false;
    {
      std::lock_guard lock(mutex_);
      wake = waiting_.empty();
      waiting_.push_back(std::move(message));
    }
    if (wake) boost::asio::post(context_, [this] { deliver(); });
  }

 private:
  void deliver() {
    {
      std::lock_guard lock(mutex_);
      std::swap(waiting_, delivering_);
    }
    receive_(delivering_);
    delivering_.clear();
  }

  boost::asio::io_context& context_;
  const Receive receive_;
  std::vector<Message> delivering_;  // receiving thread only; keeps its capacity
  std::mutex mutex_;
  std::vector<Message> waiting_;  // guarded by mutex_
};

}  // namespace shoal::agent
