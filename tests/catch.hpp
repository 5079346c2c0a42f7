#pragma once

/// The one header that includes Catch2, version 2 or 3.

#if __has_include(<catch2/catch.hpp>)
#include <catch2/catch.hpp>
#else
#include <catch2/catch_all.hpp>
#endif
