# What `make install` puts where: header, libraries, pkg-config file, CMake package, command with its other names and completions, manual pages.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/memguard)

install(TARGETS memguard_shared memguard_static EXPORT memguard
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
if(TARGET memguard_command)
    install(TARGETS memguard_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    foreach(link memguard-askpass git-credential-memguard) # see run_link in tools/memguard/main.c
        install(FILES ${PROJECT_BINARY_DIR}/${link} DESTINATION ${CMAKE_INSTALL_BINDIR})
    endforeach()
    install(FILES tools/completions/memguard.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME memguard)
    install(FILES tools/completions/_memguard DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
    install(FILES tools/completions/memguard.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
foreach(section 1 3 7)
    file(GLOB pages CONFIGURE_DEPENDS docs/man/*.${section})
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
if(TARGET memguard_command)
    foreach(link memguard-askpass git-credential-memguard) # their pages, too, are other names of one
        file(CREATE_LINK memguard.1 ${PROJECT_BINARY_DIR}/${link}.1 SYMBOLIC)
        install(FILES ${PROJECT_BINARY_DIR}/${link}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    endforeach()
endif()

install(FILES LICENSE README.md docs/HANDING.md docs/THREATS.md docs/PLATFORMS.md docs/SYSCALLS.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

# The way from the package's files back to the prefix, so that an installed tree may be moved.
file(RELATIVE_PATH MEMGUARD_PC_TO_PREFIX
     ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(memguard.pc.in memguard.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/memguard.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(EXPORT memguard NAMESPACE memguard:: FILE memguard-targets.cmake DESTINATION ${package_dir})
configure_package_config_file(cmake/memguard-config.cmake.in memguard-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(memguard-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/memguard-config.cmake ${PROJECT_BINARY_DIR}/memguard-config-version.cmake
        DESTINATION ${package_dir})
