# cmake -D source=FILE -D outcome=compiles|fails -P compile_fail.cmake -- COMPILER OPTION...
# Passes when the file compiles, or when with XTAPE_COMPILE_FAIL defined it does not and the compiler says what the
# file's line `// must say: <regex>` wants.
set(command "")
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE 8 ${last})
    list(APPEND command "${CMAKE_ARGV${i}}")
endforeach()

file(STRINGS "${source}" expected REGEX "^// must say: ")
string(REGEX REPLACE "^// must say: " "" expected "${expected}")
if(expected STREQUAL "")
    message(FATAL_ERROR "${source} has no line `// must say: <regex>`")
endif()

if(outcome STREQUAL "fails")
    list(APPEND command -DXTAPE_COMPILE_FAIL)
endif()
execute_process(COMMAND ${command} "${source}" RESULT_VARIABLE status ERROR_VARIABLE said OUTPUT_VARIABLE said)

if(outcome STREQUAL "compiles" AND NOT status EQUAL 0)
    message(FATAL_ERROR "the twin must compile, but the compiler says:\n${said}")
elseif(outcome STREQUAL "fails" AND status EQUAL 0)
    message(FATAL_ERROR "this must not compile, but does")
elseif(outcome STREQUAL "fails" AND NOT said MATCHES "${expected}")
    message(FATAL_ERROR "the compiler should say `${expected}`, but says:\n${said}")
endif()
