#define CATCH_CONFIG_MAIN
#include <xtape/tests/catch.hpp>
