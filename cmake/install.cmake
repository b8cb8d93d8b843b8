# What `cmake --install` puts where. Whatever this build does not have (a build without Open MPI, a page not yet written)
# is left out; tests/e2e/install_test.sh builds the examples against an installation.
include(CMakePackageConfigHelpers)
set(share_dir ${CMAKE_INSTALL_DATADIR}/mayfly)
file(RELATIVE_PATH bin_to_lib ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})

foreach(program mayflyd mayfly_program)
  if(TARGET ${program})
    set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/${bin_to_lib}")
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

if(TARGET mayfly)
  add_library(mayfly::mayfly ALIAS mayfly)
  install(TARGETS mayfly EXPORT mayfly
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} NAMELINK_COMPONENT development
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(FILES include/mayfly/mayfly.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/mayfly)

  # find_package(mayfly) gives mayfly::mayfly. Before 1.0 a new minor version may change the interface.
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mayfly)
  install(EXPORT mayfly FILE mayfly-targets.cmake NAMESPACE mayfly:: DESTINATION ${package_dir})
  configure_package_config_file(cmake/mayfly-config.cmake.in ${CMAKE_BINARY_DIR}/mayfly-config.cmake
    INSTALL_DESTINATION ${package_dir})
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/mayfly-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/mayfly-config.cmake ${CMAKE_BINARY_DIR}/mayfly-config-version.cmake
    DESTINATION ${package_dir})

  # mayfly.pc finds its folders from its own place, so that an installation can be moved.
  file(RELATIVE_PATH pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  configure_file(cmake/mayfly.pc.in ${CMAKE_BINARY_DIR}/mayfly.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/mayfly.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES share/mayfly-env.sh DESTINATION ${share_dir})
install(FILES share/slurm/job.sbatch DESTINATION ${share_dir}/slurm)
install(FILES share/pbs/job.pbs DESTINATION ${share_dir}/pbs)
foreach(folder examples doc)
  if(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/share/${folder})
    install(DIRECTORY share/${folder}/ DESTINATION ${share_dir}/${folder} FILES_MATCHING PATTERN "*.*")
  endif()
endforeach()
install(DIRECTORY ior_plugin DESTINATION ${share_dir})  # builds by itself, for an IOR tree of the user's
install(FILES share/man/mayfly.1 share/man/mayflyd.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES share/man/mayfly.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
install(FILES share/completions/mayfly DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
