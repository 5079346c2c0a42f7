# `cmake --install`: libraries, headers, and a package for find_package(xtape CONFIG).
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/xtape")

install(TARGETS xtape xtape_engine xtape_nn xtape_optim xtape_models EXPORT xtapeTargets)
if(TARGET xtape_command)
    install(TARGETS xtape_command)
endif()
install(DIRECTORY engine nn optim models DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/xtape" FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h"
        PATTERN "nn/json.hpp" EXCLUDE)
install(FILES xtape.hpp DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/xtape")
install(EXPORT xtapeTargets NAMESPACE xtape:: DESTINATION "${package_dir}")

configure_package_config_file(tools/cmake/xtapeConfig.cmake.in xtapeConfig.cmake INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file(xtapeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(
    FILES "${PROJECT_BINARY_DIR}/xtapeConfig.cmake" "${PROJECT_BINARY_DIR}/xtapeConfigVersion.cmake"
          "${PROJECT_SOURCE_DIR}/tools/cmake/FindDNNL.cmake"
    DESTINATION "${package_dir}"
)
