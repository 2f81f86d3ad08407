# What `cmake --install` gives (docs/library.md): the program, the static libraries up to the room `library` with their
# headers, libpalimpsest.so with palimpsest.h, the Python module, and a CMake package with a target for each interface.
include(CMakePackageConfigHelpers)
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/Palimpsest)

install(TARGETS palimpsest RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

# Palimpsest::palimpsest, of C++, stands on all of these.
set(rooms output ranks checkpoint inference measures training library)
set_target_properties(palimpsest_launch_library PROPERTIES EXPORT_NAME palimpsest)
list(TRANSFORM rooms PREPEND palimpsest_launch_ OUTPUT_VARIABLE libraries)
install(TARGETS palimpsest_options palimpsest_core palimpsest_autograd palimpsest_layers palimpsest_optim palimpsest_data
  palimpsest_configs ${libraries} EXPORT PalimpsestTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT PalimpsestTargets NAMESPACE Palimpsest:: DESTINATION ${package_folder})

# Headers as they lie here, since they name each other from the root; not those that only make sense inside their folder.
list(TRANSFORM rooms PREPEND launch/ OUTPUT_VARIABLE folders)
foreach(folder core autograd layers optim data configs ${folders})
  install(DIRECTORY ${folder}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/palimpsest/${folder} FILES_MATCHING PATTERN "*.h"
    PATTERN core/products EXCLUDE PATTERN "core/kernels/attention_*" EXCLUDE PATTERN "core/kernels/memory_*tiles.h" EXCLUDE
    PATTERN "core/kernels/vector_*" EXCLUDE PATTERN core/io/hdf5_handle.h EXCLUDE PATTERN core/io/hdf5_storage.h EXCLUDE)
endforeach()

# Palimpsest::c, which needs nothing else.
install(TARGETS palimpsest_c EXPORT PalimpsestCTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT PalimpsestCTargets NAMESPACE Palimpsest:: DESTINATION ${package_folder})
install(FILES launch/c_interface/palimpsest.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES launch/python/palimpsest.py DESTINATION ${CMAKE_INSTALL_LIBDIR}/palimpsest/python)

install(FILES launch/PalimpsestConfig.cmake DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/PalimpsestConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/PalimpsestConfigVersion.cmake DESTINATION ${package_folder})
