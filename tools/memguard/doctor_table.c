/* The table of checks: what each is called, who looks, and what is to be said about it whatever is seen. A check is one
 * entry here and one function. Ids are for ever: scripts and completions know them. */
#include "doctor.h"

const struct check checks[] = {
    {"lock-limit", "memory", "lockable memory that is allowed, against what vaults need", .look = check_lock_limit,
     .gain = "Memory that cannot be locked may be written to swap, and read from the disk later by whoever gets it. "
             "memguard makes no vault rather than one whose pages could be swapped.",
     .fix = "as root: echo '* - memlock 8192' >/etc/security/limits.d/memlock.conf and log in again (a service: "
            "LimitMEMLOCK=8M; a container: --ulimit memlock=8388608)",
     .undo = "remove that file (or that line, or that option) and log in again",
     .source = "getrlimit(2) RLIMIT_MEMLOCK, mlock(2), limits.conf(5), systemd.exec(5)"},
    {"vault", "memory", "what a vault of this library obtains here, and how much it locks", .look = check_vault,
     .gain = "Each protection that is missing is a way to the plaintext of secrets in use: swap, core files, forked "
             "children, /proc/PID/mem, copies left by pages that the kernel moves or merges.",
     .fix = "see the facts lock-limit and memfd-secret, and what memguard demo lists; unset MEMGUARD_BACKEND if it "
            "is set",
     .undo = "take back what was done for those facts; a trial leaves nothing behind",
     .source = "memguard(3), memguard_vault_report"},
    {"memfd-secret", "memory", "memfd_secret(2): pages that the kernel itself cannot read, tried",
     .look = check_memfd_secret,
     .gain = "Without it, root and every tracer read plaintext in use by /proc/PID/mem and process_vm_readv(2), and "
             "an image of a hibernation holds it.",
     .fix = "Linux 6.5 or later; from 5.14 on, boot with secretmem.enable=1; in a container, let its seccomp filter "
            "allow memfd_secret",
     .undo = "take secretmem.enable=1 off the kernel's command line, or the call out of the filter",
     .source = "memfd_secret(2); the kernel's Documentation/admin-guide/kernel-parameters.txt, secretmem.enable"},
    {"pkeys", "memory", "memory protection keys of the processor", .look = check_pkeys,
     .gain = "None by itself: programs that guard memory by protection keys (some browsers, databases) fall back to "
             "less without them. memguard uses page rights instead.",
     .fix = "no setting: another processor, or a virtual machine whose processor model has pku",
     .undo = "not applicable", .source = "pkeys(7); the kernel's Documentation/core-api/protection-keys.rst"},
    {"page-size", "memory", "size of a page of memory", .look = check_page_size,
     .gain = "None by itself: a guarded secret takes a whole page, so that large pages use the lock limit up sooner, "
             "and programs then keep fewer secrets guarded.",
     .fix = "no setting: the kernel is built for it", .undo = "not applicable", .source = "getpagesize(2), mlock(2)"},
    {"huge-pages", "memory", "transparent huge pages, whose making moves memory", .look = check_huge_pages,
     .gain = "A page that is collapsed into a huge one is copied, and the old frame keeps the bytes until it is used "
             "again: residue for who reads physical memory.",
     .fix = "echo madvise >/sys/kernel/mm/transparent_hugepage/enabled (at boot: transparent_hugepage=madvise)",
     .undo = "echo always >/sys/kernel/mm/transparent_hugepage/enabled",
     .source = "madvise(2) MADV_NOHUGEPAGE, MADV_COLLAPSE; the kernel's Documentation/admin-guide/mm/transhuge.rst"},
    {"ksm", "memory", "merging of equal pages (KSM)", .look = check_ksm,
     .gain = "Who can guess a page of another process learns by the time that a write takes whether the guess was "
             "right, page by page; it was shown to work across virtual machines.",
     .fix = "echo 2 >/sys/kernel/mm/ksm/run (stops, and parts what was merged); disable ksmtuned.service where there "
            "is one",
     .undo = "echo 1 >/sys/kernel/mm/ksm/run",
     .source = "madvise(2) MADV_MERGEABLE; the kernel's Documentation/admin-guide/mm/ksm.rst"},
    {"map-count", "memory", "how many mappings a process may have", .look = check_map_count,
     .gain = "None by itself: a process that runs out of mappings can make no more guarded secrets; memguard answers "
             "ERR_MAP_LIMIT.",
     .fix = "sysctl -w vm.max_map_count=65530 (to keep: a file in /etc/sysctl.d)",
     .undo = "sysctl -w with the number from before; remove the file",
     .source = "mmap(2); the kernel's Documentation/admin-guide/sysctl/vm.rst"},
    {"swap", "disk", "swap devices and files, and whether they are encrypted", .look = check_swap,
     .gain = "Memory that is not locked is written there whenever memory gets short, and stays after power off and "
             "after the process has ended: the disk's next owner reads it. A disk that encrypts itself is not seen "
             "as encrypted.",
     .fix = "put swap on dm-crypt with a random key (crypttab(5): swap /dev/DISK /dev/urandom "
            "swap,cipher=aes-xts-plain64,size=512), or use zram only, or swapoff -a and take it out of /etc/fstab",
     .undo = "put the line of /etc/fstab back; swapon -a",
     .source = "swapon(8), crypttab(5), proc_swaps(5); the kernel's "
               "Documentation/admin-guide/device-mapper/dm-crypt.rst"},
    {"zram", "disk", "compressed swap in memory, and whether it writes back to a device", .look = check_zram,
     .gain = "With a backing device zram writes pages that are idle or do not compress to it: then the device is a "
             "swap like any other.",
     .fix = "swapoff the device, echo 1 >/sys/block/zramN/reset, and set it up without backing_dev",
     .undo = "set it up with backing_dev again, before its size is set",
     .source = "the kernel's Documentation/admin-guide/blockdev/zram.rst"},
    {"swappiness", "disk", "how soon memory is swapped, where swap is in the clear", .look = check_swappiness,
     .gain = "The sooner idle memory is swapped, the more of it is on the disk, that of programs which do not lock "
             "secrets, too.",
     .fix = "sysctl -w vm.swappiness=1 (better: see the fact swap)", .undo = "sysctl -w vm.swappiness=60",
     .source = "the kernel's Documentation/admin-guide/sysctl/vm.rst"},
    {"hibernation", "disk", "whether all memory may be written to a disk", .look = check_hibernation,
     .gain = "An image of a hibernation holds all memory, locked pages and the kernel's own keys included, but for "
             "pages of memfd_secret(2). Who has the disk has the image.",
     .fix = "boot with nohibernate, or systemctl mask hibernate.target hybrid-sleep.target "
            "suspend-then-hibernate.target; or hibernate to an encrypted swap only",
     .undo = "take nohibernate off the kernel's command line; systemctl unmask the targets",
     .source = "the kernel's Documentation/power/swsusp.rst and interface.rst, systemd-sleep(8), memfd_secret(2)"},
    {"hibernation-blockers", "disk", "who keeps this machine from hibernating", .look = check_hibernation_blockers,
     .gain = "None: it is a matter of service. The kernel refuses to hibernate as long as any process has pages of "
             "memfd_secret(2); where hibernation is configured memguard therefore does not choose them by itself.",
     .fix = "end these processes before hibernation, or start them with MEMGUARD_BACKEND=locked",
     .undo = "start them without MEMGUARD_BACKEND", .source = "memfd_secret(2), memguard(3)"},
    {"core-pattern", "dumps", "where the memory of a program goes when it crashes", .look = check_core_pattern,
     .gain = "A core holds the memory and registers of the process: heap, stacks, keys of programs that do not use "
             "memguard. A handler stores it, some send it to a vendor. Who may read these files, or their backups, "
             "has the secrets.",
     .fix = "sysctl -w kernel.core_pattern='|/bin/false' (to keep: a file in /etc/sysctl.d); with systemd-coredump "
            "Storage=none in coredump.conf(5) throws cores away, too, though this fact does not see it",
     .undo = "sysctl -w with the pattern from before; remove the file",
     .source = "core(5), systemd-coredump(8); the kernel's Documentation/admin-guide/sysctl/kernel.rst"},
    {"core-limit", "dumps", "how large a core file may be", .look = check_core_limit,
     .gain = "With a limit other than 0 a crash, or a signal such as SIGQUIT, writes the memory of the process to a "
             "file. 0 stops files only; 1 stops a pipe, too.",
     .fix = "ulimit -c 0 (for all: '* hard core 0' in /etc/security/limits.d; a service: LimitCORE=0), or "
            "memguard_harden in the program",
     .undo = "ulimit -S -c unlimited, in a new session if the hard limit was lowered",
     .source = "core(5), getrlimit(2) RLIMIT_CORE, limits.conf(5)"},
    {"core-filter", "dumps", "which memory a core holds", .look = check_core_filter,
     .gain = "Bits 0 to 3 put private and shared memory into a core: heap and stacks. What memguard protects is left "
             "out whatever they are.",
     .fix = "echo 0 >/proc/self/coredump_filter in the shell that starts the program (children inherit it)",
     .undo = "echo 0x33 >/proc/self/coredump_filter",
     .source = "core(5), proc_pid_coredump_filter(5), madvise(2) MADV_DONTDUMP"},
    {"suid-dumpable", "dumps", "cores of programs that gained rights", .look = check_suid_dumpable,
     .gain = "With 1 a user makes a set-user-ID program crash and reads what it had read as root, passwords' hashes "
             "for example. 2 writes such cores for root only.",
     .fix = "sysctl -w fs.suid_dumpable=0 (to keep: a file in /etc/sysctl.d)",
     .undo = "sysctl -w with the number from before", .source = "proc_sys_fs(5), core(5), PR_SET_DUMPABLE(2const)"},
    {"kdump", "dumps", "dumps of the whole kernel after a panic", .look = check_kdump,
     .gain = "A dump can hold all memory. Who can cause a panic, or has the disk or server that dumps are written "
             "to, gets it. makedumpfile -d 31 leaves out what belongs to programs.",
     .fix = "kdump-config unload, or systemctl disable --now kdump; or see that its dump level is 31",
     .undo = "systemctl enable --now kdump",
     .source = "the kernel's Documentation/admin-guide/kdump/kdump.rst, makedumpfile(8)"},
    {"ptrace-scope", "readers", "who may trace, and so read, other processes (Yama)", .look = check_ptrace_scope,
     .gain = "With 0, or without Yama, one program of yours that was taken over reads the memory of all your others: "
             "agents, browsers, password managers.",
     .fix = "sysctl -w kernel.yama.ptrace_scope=1 (to keep: a file in /etc/sysctl.d)",
     .undo = "sysctl -w kernel.yama.ptrace_scope=0 (not from 3: boot)",
     .source = "ptrace(2), process_vm_readv(2); the kernel's Documentation/admin-guide/LSM/Yama.rst"},
    {"dev-mem", "readers", "/dev/mem, the window on physical memory", .look = check_dev_mem,
     .gain = "Without CONFIG_STRICT_DEVMEM root reads all memory by it, that of memfd_secret(2) included.",
     .fix = "a kernel with CONFIG_STRICT_DEVMEM and CONFIG_IO_STRICT_DEVMEM, or boot with lockdown=integrity",
     .undo = "boot without lockdown=", .source = "mem(4), kernel_lockdown(7)"},
    {"kcore", "readers", "/proc/kcore, the window on the kernel's memory", .look = check_kcore,
     .gain = "Root, or who has CAP_SYS_RAWIO, reads by it what the kernel has mapped: all memory but pages of "
             "memfd_secret(2).",
     .fix = "boot with lockdown=confidentiality",
     .undo = "boot without lockdown=", .source = "proc_kcore(5), kernel_lockdown(7)"},
    {"lockdown", "readers", "kernel lockdown: what even root may not do", .look = check_lockdown,
     .gain = "Without it root loads code into the kernel, or attaches probes, and so reads every secret in every "
             "process, those in pages of memfd_secret(2) included.",
     .fix = "boot with lockdown=confidentiality (a kernel with CONFIG_SECURITY_LOCKDOWN_LSM; it also ends "
            "hibernation and unsigned modules)",
     .undo = "boot without lockdown= (it cannot be lowered at run time)", .source = "kernel_lockdown(7)"},
    {"capabilities", "readers", "rights that let the process read others' memory", .look = check_capabilities,
     .gain = "A process with CAP_SYS_PTRACE, CAP_SYS_ADMIN and the like reads the memory of others, so that a fault "
             "in it opens theirs.",
     .fix = "run it as a plain user, or drop them: setpriv --bounding-set=-all --inh-caps=-all, "
            "CapabilityBoundingSet= of a service, --cap-drop=ALL of a container",
     .undo = "start it without that option", .source = "capabilities(7), setpriv(1), systemd.exec(5)"},
    {"perf-events", "readers", "measuring of other programs by plain users", .look = check_perf_events,
     .gain = "Below 2, samples of the kernel and of other programs show which code runs when, from which keys have "
             "been recovered.",
     .fix = "sysctl -w kernel.perf_event_paranoid=2 (to keep: a file in /etc/sysctl.d)",
     .undo = "sysctl -w with the number from before",
     .source = "perf_event_open(2); the kernel's Documentation/admin-guide/perf-security.rst"},
    {"unprivileged-bpf", "readers", "BPF programs of plain users", .look = check_unprivileged_bpf,
     .gain = "They run in the kernel; by speculative execution they have been used to read all memory (Spectre v2, "
             "BHI).",
     .fix = "sysctl -w kernel.unprivileged_bpf_disabled=2 (to keep: a file in /etc/sysctl.d)",
     .undo = "sysctl -w kernel.unprivileged_bpf_disabled=0 (not from 1: boot)",
     .source = "bpf(2); the kernel's Documentation/admin-guide/sysctl/kernel.rst and hw-vuln/spectre.rst"},
    {"hidepid", "readers", "who sees other users' processes in /proc", .look = check_hidepid,
     .gain = "Every user reads everybody's command lines, and some carry secrets. (Environments are readable by the "
             "same user and root only.)",
     .fix = "mount -o remount,hidepid=invisible /proc (services such as systemd-logind may need gid=; a service: "
            "ProtectProc=invisible)",
     .undo = "mount -o remount,hidepid=off /proc", .source = "proc(5), systemd.exec(5)"},
    {"vulnerabilities", "cpu", "faults of the processor through which memory leaks", .look = check_vulnerabilities,
     .gain = "Meltdown, MDS, L1TF and their kin let a program, or a guest, read memory that is not its own, at bytes "
             "to kilobytes a second, without a trace.",
     .fix = "install the processor's microcode and a current kernel; boot without mitigations=off; for what is left "
            "between threads of a core: nosmt",
     .undo = "boot without nosmt",
     .source = "the kernel's Documentation/admin-guide/hw-vuln, Documentation/ABI/testing/sysfs-devices-system-cpu"},
    {"init-on-free", "cpu", "whether the kernel wipes memory that is freed", .look = check_init_on_free,
     .gain = "What was freed unwiped stays in physical memory: bytes that went through pipes, sockets and files in "
             "memory, and memory of killed processes. A cold boot or a fault of the kernel shows it. memguard wipes "
             "what it owns.",
     .fix = "boot with init_on_free=1 (some per cent of speed)", .undo = "boot without it, or with init_on_free=0",
     .source = "the kernel's Documentation/admin-guide/kernel-parameters.txt, init_on_free; "
               "CONFIG_INIT_ON_FREE_DEFAULT_ON"},
    {"init-on-alloc", "cpu", "whether the kernel wipes memory that it hands out", .look = check_init_on_alloc,
     .gain = "Faults of the kernel that copy a buffer which was not filled show what another program had left there.",
     .fix = "boot with init_on_alloc=1", .undo = "boot without it, or with init_on_alloc=0",
     .source = "the kernel's Documentation/admin-guide/kernel-parameters.txt, init_on_alloc; "
               "CONFIG_INIT_ON_ALLOC_DEFAULT_ON"},
    {"memory-encryption", "cpu", "encryption of memory by the processor (SME, TME, SEV, TDX)",
     .look = check_memory_encryption,
     .gain = "Without it memory chips that are cooled and moved, a bus that is tapped, and in a virtual machine its "
             "host, show plaintext.",
     .fix = "no setting where the processor has none; AMD: boot with mem_encrypt=on; Intel: switch TME on in the "
            "firmware; a virtual machine: a confidential one (SEV-SNP, TDX)",
     .undo = "boot without mem_encrypt=on",
     .source = "the kernel's Documentation/arch/x86/amd-memory-encryption.rst and tdx.rst"},
    {"environment", "hygiene", "variables whose names look like those of secrets (never their values)",
     .look = check_environment,
     .gain = "An environment is readable in /proc/PID/environ by the same user and root, is inherited by every "
             "child, is in cores and often in logs and bug reports.",
     .fix = "unset the variable and hand the secret over by a descriptor: a file in memory, a pipe, the program's "
            "own option for a file",
     .undo = "set it again", .source = "environ(7), proc_pid_environ(5), memfd_create(2)"},
    {"dumpable", "hygiene", "whether programs of the same user may read the process", .look = check_dumpable,
     .of_process = true,
     .gain = "A dumpable process can be traced, and its memory read, by programs of the same user as far as "
             "ptrace-scope allows, and leaves cores.",
     .fix = "in the program: memguard_harden, or prctl(PR_SET_DUMPABLE, 0); or make its file unreadable to its user "
            "(mode 0711)",
     .undo = "prctl(PR_SET_DUMPABLE, 1)", .source = "PR_SET_DUMPABLE(2const), ptrace(2), proc(5)"},
    {"no-new-privs", "hygiene", "whether the process can gain rights", .look = check_no_new_privs, .of_process = true,
     .gain = "A process that was taken over starts set-user-ID programs and attacks them from inside.",
     .fix = "setpriv --no-new-privs COMMAND; a service: NoNewPrivileges=yes", .undo = "start it without",
     .source = "PR_SET_NO_NEW_PRIVS(2const), setpriv(1)"},
    {"seccomp", "hygiene", "whether the system calls of the process are filtered", .look = check_seccomp,
     .of_process = true,
     .gain = "Without a filter a process that was taken over makes every system call: process_vm_readv(2) and "
             "ptrace(2) on others, for example.",
     .fix = "a service: SystemCallFilter=@system-service; a program: a filter of its own (docs/SYSCALLS.md lists "
            "what memguard needs)",
     .undo = "start it without", .source = "seccomp(2), systemd.exec(5)"},
    {"tracer", "hygiene", "who is attached to the process", .look = check_tracer, .of_process = true,
     .gain = "A tracer reads and writes all memory and registers; pages of memfd_secret(2) too, by system calls that "
             "it makes the process do.",
     .fix = "end the tracer, if it is not yours; set ptrace-scope", .undo = "nothing was changed",
     .source = "ptrace(2), proc_pid_status(5)"},
    {"locked-memory", "hygiene", "memory of the process that is never swapped", .look = check_locked_memory,
     .of_process = true, .gain = "Where nothing is locked, everything may be swapped, secrets too.",
     .fix = "keep its secrets in a vault, or see that its own lock succeeds (lock-limit)",
     .undo = "nothing was changed", .source = "mlock(2), proc_pid_status(5) VmLck"},
    {"swapped-memory", "hygiene", "memory of the process that is in a swap now", .look = check_swapped_memory,
     .of_process = true, .gain = "What was swapped stays on the disk after the process has ended.",
     .fix = "encrypt the swap (see swap); swapoff and swapon fetch everything back, but do not wipe the disk",
     .undo = "nothing was changed", .source = "proc_pid_status(5) VmSwap, swapoff(8)"},
    {"memfds", "hygiene", "files in memory that the process holds open (names only)", .look = check_memfds,
     .of_process = true,
     .gain = "Who may trace the process opens them by /proc/PID/fd; children inherit those without close-on-exec. "
             "Programs use them to hand secrets over.",
     .fix = "close each as soon as it has been read, and seal it against writing", .undo = "nothing was changed",
     .source = "memfd_create(2), memfd_secret(2), proc_pid_fd(5)"},
};
const size_t checks_count = sizeof checks / sizeof checks[0];
_Static_assert(sizeof checks / sizeof checks[0] <= CHECKS_MOST, "the command line has room for all");
