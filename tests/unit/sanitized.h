/* Is this a build with a sanitizer that takes address space and page tables for itself? */
#ifndef VENEER_TESTS_SANITIZED_H
#define VENEER_TESTS_SANITIZED_H

#ifdef __has_feature
#define UNDER_SANITIZER (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#else
#define UNDER_SANITIZER 0
#endif

#endif
