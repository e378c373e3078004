#include "core/async/io_thread.h"

#include <pthread.h>

namespace shoal {

IoThread::IoThread(std::string name)
    : work_(asio::make_work_guard(io_)), thread_([this] { io_.run(); }) {
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

IoThread::~IoThread() { stop(); }

void IoThread::stop() {
  work_.reset();
  if (thread_.joinable()) thread_.join();
}

}  // namespace shoal
