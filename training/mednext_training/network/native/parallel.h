// Work in several threads, and exported functions whose lack of memory does not end the process.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <new>
#include <thread>
#include <vector>

// Return values of the exported functions; channels_last.py turns the second into a MemoryError.
enum Status : int { DONE = 0, OUT_OF_MEMORY = 1 };
#define OR_OUT_OF_MEMORY catch (const std::exception&) { return OUT_OF_MEMORY; }

// Calls work(begin, end, thread) on equal parts of [0, count). Throws std::bad_alloc once all threads have ended.
template <typename Work>
void in_parallel(int64_t count, int threads, Work work) {
    const int64_t parts = std::max<int64_t>(std::min<int64_t>(threads, count), 1);
    std::atomic<bool> failed{false};
    const auto do_part = [&](int64_t part) {
        try {
            work(count * part / parts, count * (part + 1) / parts, static_cast<int>(part));
        } catch (const std::exception&) {  // of no memory
            failed = true;
        }
    };
    std::vector<std::thread> workers;
    for (int64_t part = 1; part < parts; ++part) {
        try {
            workers.emplace_back(do_part, part);
        } catch (const std::exception&) {  // there are no more threads, or no memory for one
            do_part(part);
        }
    }
    do_part(0);
    for (auto& worker : workers) worker.join();
    if (failed) throw std::bad_alloc();
}
