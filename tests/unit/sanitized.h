/* Is this a build with a sanitizer that takes address space and page tables for itself? */
#ifndef VENEER_TESTS_SANITIZED_H
#define VENEER_TESTS_SANITIZED_H

#include "base/sanitizer.h"

#define UNDER_SANITIZER (ADDRESS_SANITIZED || THREAD_SANITIZED)

#endif
