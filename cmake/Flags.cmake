# Compiler and linker flags, as two interface targets: memguard_warnings and memguard_hardening.
# Everything that is built in this tree takes both; nothing of it reaches those who use the installed library.
include(CheckCCompilerFlag)
include(CheckLinkerFlag)

# Adds to `target` those of the flags that the compiler knows.
set(CMAKE_REQUIRED_QUIET ON)

function(memguard_c_flags target)
    foreach(flag IN LISTS ARGN)
        string(MAKE_C_IDENTIFIER "MEMGUARD_HAVE${flag}" known)
        check_c_compiler_flag("${flag}" ${known})
        if(${known})
            target_compile_options(${target} INTERFACE "$<$<COMPILE_LANGUAGE:C>:${flag}>")
        endif()
    endforeach()
endfunction()

# The same for the linker.
function(memguard_link_flags target)
    foreach(flag IN LISTS ARGN)
        string(MAKE_C_IDENTIFIER "MEMGUARD_LINK${flag}" known)
        check_linker_flag(C "${flag}" ${known})
        if(${known})
            target_link_options(${target} INTERFACE "${flag}")
        endif()
    endforeach()
endfunction()

add_library(memguard_warnings INTERFACE)
memguard_c_flags(memguard_warnings
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes
    -Wmissing-declarations -Wold-style-definition -Wredundant-decls -Wundef -Wvla -Wwrite-strings -Wformat=2
    -Wpointer-arith -Wcast-align -Wdouble-promotion -Wimplicit-fallthrough -Wnested-externs
    -Wlogical-op -Wduplicated-cond)
if(MEMGUARD_WERROR)
    target_compile_options(memguard_warnings INTERFACE -Werror)
endif()

add_library(memguard_hardening INTERFACE)
memguard_c_flags(memguard_hardening
    -fstack-protector-strong -fstack-clash-protection -ffunction-sections -fno-common)
# Distributions link-time optimize by flags of their own. Not here: the linker's plugin does not see what assembly in
# functions calls, and what is wiped leans on borders between files.
memguard_c_flags(memguard_hardening -fno-lto)
# Marks for shadow stacks and indirect-branch checks; assembly has to bring its own.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    memguard_c_flags(memguard_hardening -fcf-protection=full)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    memguard_c_flags(memguard_hardening -mbranch-protection=standard)
endif()
# -z now is more than hardening here: lazy binding spills vector registers deep into the stack.
memguard_link_flags(memguard_hardening -Wl,-z,now -Wl,-z,relro -Wl,-z,noexecstack -Wl,--gc-sections -Wl,--as-needed)

if(MEMGUARD_SANITIZE)
    target_compile_options(memguard_hardening INTERFACE
        -fsanitize=${MEMGUARD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(memguard_hardening INTERFACE -fsanitize=${MEMGUARD_SANITIZE})
    # It does not see fences; those that we have (sys.h) stand beside atomics that it does see.
    if(MEMGUARD_SANITIZE MATCHES thread AND CMAKE_C_COMPILER_ID STREQUAL GNU)
        target_compile_options(memguard_hardening INTERFACE -Wno-tsan)
    endif()
else()
    # A distribution may set its own level: ours replaces it, without a warning about that.
    target_compile_options(memguard_hardening INTERFACE
        "$<$<AND:$<COMPILE_LANGUAGE:C>,$<NOT:$<CONFIG:Debug>>>:SHELL:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>")
endif()

if(MEMGUARD_COVERAGE)
    if(CMAKE_C_COMPILER_ID MATCHES "Clang")
        # Relocated counters live in the file: they survive a process that is killed.
        set(coverage -fprofile-instr-generate -fcoverage-mapping "SHELL:-mllvm -runtime-counter-relocation")
        set(coverage_link -fprofile-instr-generate)
    else()
        set(coverage --coverage)
        set(coverage_link --coverage)
    endif()
    target_compile_options(memguard_hardening INTERFACE "$<$<COMPILE_LANGUAGE:C>:${coverage}>")
    target_link_options(memguard_hardening INTERFACE ${coverage_link})
endif()
