# cmake -D SOURCE_DIR=DIR -P include_rules.cmake
# Includes point only downwards: for each folder, what its files may include of xtape.
set(rules
    "engine/kernels|engine/kernels/"
    "engine|engine/"
    "nn|(engine|nn)/"
    "optim|(engine|nn|optim)/"
    "models|(engine|nn|optim|models)/|xtape.hpp"
    "tests/reference|tests/reference/"
    "tools|(engine|nn|optim|models|tools|tests/reference)/|xtape.hpp"
)
set(wrong "")
foreach(rule IN LISTS rules)
    string(REGEX MATCH "^([^|]+)\\|(.+)$" rule "${rule}")
    set(folder "${CMAKE_MATCH_1}")
    set(allowed "${CMAKE_MATCH_2}")
    file(GLOB_RECURSE files RELATIVE "${SOURCE_DIR}" "${SOURCE_DIR}/${folder}/*.[ch]pp")
    foreach(file IN LISTS files)
        file(STRINGS "${SOURCE_DIR}/${file}" includes REGEX "^ *# *include <xtape/")
        foreach(include IN LISTS includes)
            if(NOT include MATCHES "<xtape/(${allowed})")
                string(APPEND wrong "\n${file}: ${include}")
            endif()
        endforeach()
    endforeach()
endforeach()
if(wrong)
    message(FATAL_ERROR "includes that do not point downwards:${wrong}")
endif()
