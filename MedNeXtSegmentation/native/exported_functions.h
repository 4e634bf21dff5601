// Export functions to Python, without exceptions, which would end the process.
#pragma once

#include <cstdint>
#include <new>

#if defined(_WIN32)
#define EXPORTED extern "C" __declspec(dllexport)
#else
#define EXPORTED extern "C" __attribute__((visibility("default")))
#endif

// Return values of the functions; native_library.py turns failures into exceptions.
enum Status : int64_t { DONE = 0, OUT_OF_MEMORY = 1, FAILED = 2, NOT_NEIGHBOURS = 3 };

// Calls body(), which returns a status.
template <typename Body>
int64_t guarded(const Body& body) noexcept {
    try {
        return body();
    } catch (const std::bad_alloc&) {
        return OUT_OF_MEMORY;
    } catch (...) {
        return FAILED;
    }
}
