// Work in equal parts on several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

// Calls work(begin, end, part) for equal parts of [0, count); parts begin at multiples of `grain`.
template <typename Work>
void in_parallel(int64_t count, int64_t grain, int64_t threads, const Work& work) {
    const int64_t grains = (count + grain - 1) / grain;
    const int64_t parts = std::max<int64_t>(1, std::min(threads, grains));
    const auto begin = [=](int64_t part) { return std::min(count, grains * part / parts * grain); };
    std::vector<std::thread> others;
    for (int64_t part = 1; part < parts; ++part) others.emplace_back(work, begin(part), begin(part + 1), part);
    work(begin(0), begin(1), 0);
    for (auto& other : others) other.join();
}

// Calls work(begin, end, scratch) for pieces of `grain` of [0, count), each by the next thread that is free: on a busy
// machine none waits for a thread that does not get on.
template <typename Work>
void in_pieces(int64_t count, int64_t grain, int64_t threads, int64_t scratch_floats, const Work& work) {
    std::atomic<int64_t> next{0};
    in_parallel((count + grain - 1) / grain, 1, threads, [&](int64_t, int64_t, int64_t) {
        std::vector<float> scratch(scratch_floats);
        for (int64_t begin = next.fetch_add(grain); begin < count; begin = next.fetch_add(grain))
            work(begin, std::min(count, begin + grain), scratch.data());
    });
}
