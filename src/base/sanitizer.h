/* Which sanitizers this build has: gcc tells by macros, clang by a question. 0 or 1 each. */
#ifndef VENEER_BASE_SANITIZER_H
#define VENEER_BASE_SANITIZER_H

#ifdef __has_feature
#define ADDRESS_SANITIZED   __has_feature(address_sanitizer)
#define THREAD_SANITIZED    __has_feature(thread_sanitizer)
#define UNDEFINED_SANITIZED __has_feature(undefined_behavior_sanitizer)
#else
#ifdef __SANITIZE_ADDRESS__
#define ADDRESS_SANITIZED 1
#else
#define ADDRESS_SANITIZED 0
#endif
#ifdef __SANITIZE_THREAD__
#define THREAD_SANITIZED 1
#else
#define THREAD_SANITIZED 0
#endif
#define UNDEFINED_SANITIZED 0 /* gcc does not tell */
#endif

#endif
