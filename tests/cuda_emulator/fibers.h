// Fibers: one stack for each emulated thread, switched by hand and announced to the sanitizers.
#pragma once

#include <ucontext.h>

#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
void __tsan_read_range(void* pointer, unsigned long size);
void __tsan_write_range(void* pointer, unsigned long size);
}
#endif

namespace emulator {

// The end of a run: the message names what the kernel did wrong.
[[noreturn]] inline void fail(const char* format, ...) {
  std::fflush(stdout);
  std::fputs("CUDA emulator: ", stderr);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputc('\n', stderr);
  std::abort();
}

// While one lives, ThreadSanitizer overlooks what the current fiber reads and writes: the
// emulator's own doings are not the kernel's.
class Unobserved {
 public:
#ifdef __SANITIZE_THREAD__
  Unobserved() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unobserved() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  Unobserved() {}
#endif
  Unobserved(const Unobserved&) = delete;
  Unobserved& operator=(const Unobserved&) = delete;
};

// What ThreadSanitizer knows of order: what went before a `release` is seen after an `acquire`.
struct Order {
  char token;

  void release() {
#ifdef __SANITIZE_THREAD__
    __tsan_release(&token);
#endif
  }
  void acquire() {
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(&token);
#endif
  }
};

// Tells ThreadSanitizer of an access by the current fiber that it would not see by itself.
inline void observe_read([[maybe_unused]] const void* pointer, [[maybe_unused]] std::size_t size) {
#ifdef __SANITIZE_THREAD__
  __tsan_read_range(const_cast<void*>(pointer), size);
#endif
}
inline void observe_write([[maybe_unused]] void* pointer, [[maybe_unused]] std::size_t size) {
#ifdef __SANITIZE_THREAD__
  __tsan_write_range(pointer, size);
#endif
}

// The stack that main runs on, and what the sanitizers call it.
struct Scheduler {
  ucontext_t context;
  void* fake_stack = nullptr;
  const void* stack = nullptr;
  std::size_t stack_size = 0;
  void* thread = nullptr;
};

// A stack that is entered from the scheduler and leaves to it, and to nobody else.
class Fiber {
 public:
  using Entry = void (*)();  // never returns: its last act is `leave(/*forever=*/true)`

  Fiber(char* stack, std::size_t stack_size, Entry entry) : stack_(stack), stack_size_(stack_size) {
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = stack_size;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#ifdef __SANITIZE_THREAD__
    scheduler_.thread = __tsan_get_current_fiber();
    thread_ = __tsan_create_fiber(0);
#endif
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() {
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(thread_);
#endif
  }

  void enter() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&scheduler_.fake_stack, stack_, stack_size_);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(thread_, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&scheduler_.context, &context_);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(scheduler_.fake_stack, nullptr, nullptr);
#endif
  }

  void leave(bool forever = false) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(forever ? nullptr : &fake_stack_, scheduler_.stack,
                                   scheduler_.stack_size);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(scheduler_.thread, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&context_, &scheduler_.context);
    entered();
    (void)forever;
  }

  // To be called first in the entry.
  void entered() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack_, &scheduler_.stack, &scheduler_.stack_size);
#endif
  }

 private:
  inline static Scheduler scheduler_;

  ucontext_t context_;
  char* stack_;
  std::size_t stack_size_;
  [[maybe_unused]] void* fake_stack_ = nullptr;
  [[maybe_unused]] void* thread_ = nullptr;
};

// Memory for the stacks of a block's threads.
class Stacks {
 public:
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  static constexpr std::size_t kSize = 128 * 1024;
#else
  static constexpr std::size_t kSize = 64 * 1024;
#endif

  explicit Stacks(unsigned threads) : memory_(new char[threads * kSize]) {}

  char* at(unsigned thread) { return memory_.get() + thread * kSize; }

 private:
  std::unique_ptr<char[]> memory_;
};

}  // namespace emulator
