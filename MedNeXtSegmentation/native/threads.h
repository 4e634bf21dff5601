// Divide work into pieces for several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

// Calls work(begin, end, scratch) for pieces of `grain` of [0, count), each in the next free thread: on a busy machine,
// and where some cores are slower than others, no thread waits for a slow one. `scratch` has `scratch_floats` floats,
// aligned to a cache line. Throws the first exception of a piece once all threads have ended.
template <typename Work>
void in_pieces(int64_t count, int64_t grain, int64_t threads, int64_t scratch_floats, const Work& work) {
    constexpr size_t line = 64;
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex failing;
    const auto take_pieces = [&] {
        std::vector<float> memory(scratch_floats + line / sizeof(float));
        const auto address = reinterpret_cast<uintptr_t>(memory.data());
        float* scratch = memory.data() + (line - address % line) % line / sizeof(float);
        for (int64_t begin = next.fetch_add(grain); begin < count; begin = next.fetch_add(grain))
            work(begin, std::min(count, begin + grain), scratch);
    };
    const auto worker = [&] {
        try {
            take_pieces();
        } catch (...) {
            next = count;  // stops the others
            const std::lock_guard<std::mutex> lock(failing);
            if (!failure) failure = std::current_exception();
        }
    };
    const int64_t wanted = std::min(threads, (count + grain - 1) / grain);
    std::vector<std::thread> others;
    others.reserve(std::max<int64_t>(wanted - 1, 0));
    try {
        for (int64_t i = 1; i < wanted; ++i) others.emplace_back(worker);
    } catch (const std::exception&) {
        // The system has no more threads, or no memory for one: the existing ones do all the work.
    }
    worker();
    for (auto& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

// A grain that gives each thread several pieces, of whole multiples of `unit`.
inline int64_t grain_for(int64_t count, int64_t unit, int64_t threads) {
    constexpr int64_t pieces_per_thread = 8;
    const int64_t units = (count + unit - 1) / unit, pieces = std::max<int64_t>(1, threads * pieces_per_thread);
    return (units + pieces - 1) / pieces * unit;
}
