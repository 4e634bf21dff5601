// Prefetch memory, a cache line at a time between the arithmetic: the processor's own prefetching leaves it waiting for
// about a fifth of the time, and a burst of requests fills its queue.
#pragma once

#include "processors/unrolled.h"

namespace {

class Prefetch {
public:
    Prefetch(const void* begin, int64_t bytes) : next_(static_cast<const char*>(begin)), last_(next_ + bytes - LINE) {}

    // At its end a stream requests its last line again, which costs nothing.
    ALWAYS_INLINE void next() {
        fetch(next_);
        next_ = next_ < last_ ? next_ + LINE : next_;
    }

    // The number of lines to request in each of `calls`.
    static constexpr int64_t share(int64_t bytes, int64_t calls) { return (bytes + LINE * calls - 1) / (LINE * calls); }

private:
    static constexpr int64_t LINE = 64;
    const char* next_;
    const char* last_;
};

}  // namespace
