/* cmocka with the headers that it wants before it. */
#ifndef SONDE_TESTS_CM_H
#define SONDE_TESTS_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
