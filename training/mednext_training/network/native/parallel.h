// Work in several threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

// Calls work(begin, end, thread) on equal parts of [0, count).
template <typename Work>
void in_parallel(int64_t count, int threads, Work work) {
    const int64_t parts = std::min<int64_t>(std::max(threads, 1), count);
    std::vector<std::thread> workers;
    for (int64_t part = 1; part < parts; ++part) {
        const int64_t begin = count * part / parts, end = count * (part + 1) / parts;
        try {
            workers.emplace_back(work, begin, end, static_cast<int>(part));
        } catch (const std::system_error&) {  // there are no more threads
            work(begin, end, static_cast<int>(part));
        }
    }
    work(0, count / parts, 0);
    for (auto& worker : workers) worker.join();
}
