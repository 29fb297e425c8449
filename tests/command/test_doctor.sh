#!/bin/sh
# `memguard doctor`: every branch of every check on fixtures (a root directory with the files of a machine), files that are
# missing, empty, huge, garbage, unreadable or no files; the live machine, as root and as a plain user; exit codes; that
# the JSON is JSON; that no value of an environment variable is ever printed.
# usage: test_doctor.sh [COMMAND]    (else $MEMGUARD_COMMAND)
# shellcheck disable=SC2317 # functions are called by name
set -u
command=${1:-}
[ -f "$command" ] && [ -x "$command" ] || command=${MEMGUARD_COMMAND:-}
unset MEMGUARD_BACKEND
passed=0 failed=0 skipped=0

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
skip() { skipped=$((skipped + 1)); echo "SKIP $1"; }
finish() { echo "$passed passed, $failed failed, $skipped skipped"; [ "$failed" -eq 0 ]; exit; }
check() { if [ "$2" = "$3" ]; then pass; else fail "$1: '$2', not '$3'"; fi; }
has() { if grep -q -- "$2" "$3"; then pass; else fail "$1: no '$2' in it"; cat "$3"; fi; }
hasnot() { if grep -q -- "$2" "$3"; then fail "$1: '$2' in it"; cat "$3"; else pass; fi; }

if [ ! -x "$command" ]; then
    fail "no command to test: give it as the first argument"
    finish
fi

work=$(mktemp -d) || exit 1
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
all=$work/all runs=0
out=$all/out err=$all/err
mkdir "$all"
needle=needle-$$-never-to-be-seen
PLANTED_PASSWORD=$needle
export PLANTED_PASSWORD

# run NAME CODE ARGUMENTS...: runs the command and checks its exit code. All that was ever printed is kept.
run() {
    name=$1 expected=$2
    shift 2
    runs=$((runs + 1)) out=$all/out.$((runs + 1)) err=$all/err.$((runs + 1))
    "$command" "$@" >"$out" 2>"$err" </dev/null
    code=$?
    [ "$code" -eq "$expected" ] || { cat "$out" "$err"; }
    check "$name: exit code" "$code" "$expected"
}

# is ID STATE [WORDS]: the line of a fact in $out.
state_of() { awk -v id="$1" '$1 == id { print $2 }' "$out"; }
is() {
    line=$(grep "^  $1 " "$out") # "  id   state   value - meaning - fix: ..."
    line=${line#"  $1 "}
    line=${line#"${line%%[! ]*}"}
    check "$name: $1" "${line%% *}" "$2"
    [ $# -ge 3 ] || return
    case " $line" in *"$3"*) pass ;; *) fail "$name: $1: no '$3' in: $line" ;; esac
}

valid_json() { # NAME FILE: an object whose facts have six texts each, and ids that differ
    if command -v python3 >/dev/null; then
        python3 - "$2" >"$work/words" 2>&1 <<'PYTHON'
import json, sys
facts = json.load(open(sys.argv[1], encoding="utf-8"))["facts"]
keys = ["id", "group", "state", "value", "meaning", "fix"]
assert facts and all(list(f) == keys and all(isinstance(f[k], str) for k in keys) for f in facts)
assert len({f["id"] for f in facts}) == len(facts)
assert all(f["state"] in ("good", "bad", "doubt", "unknown") for f in facts)
assert all((f["fix"] != "") == (f["state"] in ("bad", "doubt")) for f in facts)
assert all((f["value"] == "") == (f["state"] == "unknown") and f["meaning"] != "" for f in facts)
PYTHON
        check "$1: JSON" "$(cat "$work/words")" ""
    elif command -v jq >/dev/null; then
        check "$1: JSON" "$(jq '.facts | length > 0' "$2" 2>&1)" true
    else
        skip "$1: neither python3 nor jq to read JSON with"
    fi
}

# ---- a machine on which all is well ----
fx=$work/machine
put() { # PATH TEXT: a file of the machine
    [ -d "$fx/${1%/*}" ] || mkdir -p "$fx/${1%/*}"
    printf '%b' "$2" >"$fx/$1"
}
limits() { # LOCK_SOFT LOCK_HARD CORE_SOFT [PROCESS]
    put "proc/${4:-self}/limits" "Limit                     Soft Limit           Hard Limit           Units\n"
    printf '%-25s %-20s %-20s bytes\n' "Max core file size" "$3" unlimited "Max locked memory" "$1" "$2" >>"$fx/proc/${4:-self}/limits"
}
status() { # PROCESS UID CAPEFF TRACER NONEW SECCOMP LOCKED SWAPPED
    put "proc/$1/status" "Name:\tx\nTracerPid:\t$4\nUid:\t$2\t$2\t$2\t$2\nVmLck:\t $7 kB\nVmSwap:\t $8 kB\nCapEff:\t$3\nNoNewPrivs:\t$5\nSeccomp:\t$6\n"
}
swaps() { # LINES...
    put proc/swaps "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    for line; do printf '%s\t1024\t0\t-2\n' "$line" >>"$fx/proc/swaps"; done
}
vulnerable() { put "sys/devices/system/cpu/vulnerabilities/$1" "$2\n"; }
process=77
machine() {
    rm -rf "$fx"
    limits 8388608 8388608 0
    status self 1000 0000000000000000 0 1 2 64 0
    put proc/self/uid_map "         0          0 4294967295\n"
    put proc/self/smaps "00400000-00401000 r-xp 00000000 08:01 1 /bin/x\nSize: 4 kB\nKernelPageSize:        4 kB\nMMUPageSize: 4 kB\n"
    put proc/self/environ "HOME=/root\0PWD=/\0PATH=/bin\0"
    put proc/self/coredump_filter "00000000\n"
    put proc/self/mountinfo "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n24 20 0:22 / /proc rw,nosuid - proc proc rw,hidepid=invisible\n"
    mkdir -p "$fx/proc/$process/fd" "$fx/dev"
    limits 8388608 8388608 0 $process
    status $process 1000 0000000000000000 0 1 2 64 0
    put proc/$process/comm "worker\n"
    put proc/$process/environ "HOME=/root\0"
    put proc/$process/coredump_filter "00000000\n"
    put proc/$process/maps "00400000-00401000 r-xp 00000000 08:01 1 /bin/x\n"
    ln -s /dev/null "$fx/proc/$process/fd/0"
    swaps
    put proc/cmdline "quiet init_on_free=1 init_on_alloc=1 mem_encrypt=on -- init_on_free=0\n"
    put proc/cpuinfo "processor\t: 0\nflags\t\t: fpu sse pku ospke sme\n"
    put proc/sys/kernel/osrelease "6.12.0\n"
    put proc/sys/vm/max_map_count "65530\n"
    put proc/sys/vm/swappiness "60\n"
    put proc/sys/kernel/core_pattern "|/bin/false\n"
    put proc/sys/kernel/core_uses_pid "0\n"
    put proc/sys/kernel/yama/ptrace_scope "1\n"
    put proc/sys/kernel/perf_event_paranoid "2\n"
    put proc/sys/kernel/unprivileged_bpf_disabled "2\n"
    put proc/sys/fs/suid_dumpable "0\n"
    put sys/kernel/mm/transparent_hugepage/enabled "always [madvise] never\n"
    put sys/kernel/mm/ksm/run "0\n"
    put sys/kernel/kexec_crash_loaded "0\n"
    put sys/kernel/security/lockdown "none integrity [confidentiality]\n"
    put sys/power/disk "[platform] shutdown reboot suspend\n"
    put sys/power/resume "0:0\n"
    vulnerable meltdown "Not affected"
    vulnerable spectre_v2 "Mitigation: Retpolines; STIBP: disabled"
}
doctor() { # NAME [ARGUMENTS]
    doctor_name=$1
    shift
    run "$doctor_name" 0 doctor --root "$fx" "$@"
}
with() { # NAME PATH TEXT ID STATE [WORDS]: one file is other than on the machine as it is
    with_path=$fx/$2
    rm -f "$work/kept"
    [ ! -e "$with_path" ] || mv "$with_path" "$work/kept"
    put "$2" "$3"
    doctor "$1"
    shift 3
    is "$@"
    rm "$with_path"
    [ ! -e "$work/kept" ] || mv "$work/kept" "$with_path"
}
without() { # NAME PATH ID STATE [WORDS]
    without_path=$fx/$2
    mv "$without_path" "$work/away"
    doctor "$1"
    shift 2
    is "$@"
    mv "$work/away" "$without_path"
}

machine
doctor "all is well"
ids=$("$command" doctor --list | awk '{ print $1 }')
live="vault memfd-secret"
of_process="dumpable no-new-privs seccomp tracer locked-memory swapped-memory memfds"
good_ids=""
for id in $ids; do
    case " $live $of_process " in
    *" $id "*) ;;
    *) is "$id" good; good_ids=$good_ids,$id ;;
    esac
done
good_ids=${good_ids#,}
lines=$(($(echo "$ids" | wc -l) - $(echo "$of_process" | wc -w)))
for id in $live; do is "$id" unknown "could not check: nothing is tried under --root"; done
for id in $of_process; do check "all is well: $id is not shown" "$(state_of "$id")" ""; done
check "all is well: a line each" "$(grep -c '^  [a-z]' "$out")" "$lines"
has "all is well: counted" "^0 bad, 0 doubt, $(echo "$live" | wc -w) could not be checked, of $lines facts$" "$out"

# ---- ids, texts ----
check "ids differ" "$(echo "$ids" | sort | uniq -d)" ""
check "there are ids" "$([ "$(echo "$ids" | wc -l)" -ge 38 ] && echo yes)" yes
for id in $ids; do
    run "explain $id" 0 doctor --explain "$id"
    check "explain $id: four parts" "$(grep -c -E '^  (gain|fix|undo|source): +[^ ]' "$out")" 4
done
run "explain nothing" 2 doctor --explain nonsense
has "explain nothing" "no such fact: nonsense" "$err"
run "explain a part of an id" 2 doctor --explain swa
run "explain with more" 2 doctor --explain swap --json
run "list with more" 2 doctor --list --strict
run "--help" 0 doctor --help
has "--help" "^usage: memguard doctor" "$out"
run "unknown argument" 2 doctor --nonsense
run "an option that only begins like one" 2 doctor --roots=/
run "a value is missing" 2 doctor --pid
for pid in "" 0 -1 x 1x 99999999999999999999 4294967297; do run "process '$pid'" 2 doctor --pid "$pid"; done
run "no such process" 2 doctor --root "$fx" --pid 78
run "no such root" 2 doctor --root "$work/nothing"
run "a root that is a file" 2 doctor --root "$command"

# ---- strict, require ----
run "strict, all is well" 0 doctor --strict --root "$fx"
run "require what is good" 0 doctor --root="$fx" --require="$good_ids"
run "require an unknown id" 2 doctor --root "$fx" --require swap,nonsense
run "require nothing" 2 doctor --root "$fx" --require ""
run "require with an empty id" 2 doctor --root "$fx" --require swap,
run "require what cannot be checked" 1 doctor --root "$fx" --require swap,vault
has "require what cannot be checked" "required, but unknown: vault" "$err"
hasnot "require what cannot be checked" "swap" "$err"
run "require what needs a process" 1 doctor --root "$fx" --require tracer
has "require what needs a process" "tracer .*unknown .*give --pid" "$out"
swaps "/dev/sda2 partition"
mkdir -p "$fx/sys/class/block/sda2"
run "bad, and nobody minds" 0 doctor --root "$fx"
has "one is bad: counted" "^1 bad, " "$out"
run "strict, and one is bad" 1 doctor --root "$fx" --strict
run "require what is bad" 1 doctor --root "$fx" --require swap
has "require what is bad" "required, but bad: swap" "$err"
run "require another one" 0 doctor --root "$fx" --require ksm
machine
put sys/kernel/mm/ksm/run "1\n"
rm "$fx/sys/kernel/security/lockdown"
run "strict does not mind doubt and unknown" 0 doctor --root "$fx" --strict
run "require minds doubt" 1 doctor --root "$fx" --require ksm
run "require minds unknown" 1 doctor --root "$fx" --require lockdown
run "the last one decides" 1 doctor --root "$fx" --require swap --require lockdown
if [ -e /dev/full ]; then
    "$command" doctor --root "$fx" >/dev/full 2>"$err"
    check "standard output full: exit code" "$?" 1
fi

# ---- memory ----
machine
lock() { # NAME SOFT HARD STATE [WORDS]
    limits "$2" "$3" 0
    doctor "lock limit: $1"
    shift 3
    is lock-limit "$@"
}
lock unlimited unlimited unlimited good "unlimited"
lock none 0 0 bad "no vault can be made"
has "lock limit: none" "lock-limit .*limits.d" "$out"
lock 15 15000 8388608 bad "ulimit -l 8192"
lock 32 32768 unlimited bad "hardly anything"
has "lock limit: 32" "ulimit -l 8192" "$out"
lock 64 65536 65536 doubt "less than its 16 KiB"
lock 256 262144 262144 doubt "about 54 guarded secrets"
hasnot "lock limit: 256" "less than its 16 KiB" "$out"
lock 8192 8388608 8388608 good "about 2028 guarded secrets open at once, or 129792 compact"
put proc/self/smaps "KernelPageSize:       64 kB\n"
lock "64 KiB pages" 8388608 8388608 good "about 126 guarded"
is page-size doubt "16 times"
rm "$fx/proc/self/smaps"
lock "no smaps" 8388608 8388608 good "about 2028"
is page-size unknown "/proc/self/smaps: No such file"
put proc/self/smaps "KernelPageSize: 4\n"
limits x y 0
doctor "lock limit: words"
is lock-limit unknown "no line"
is core-limit good
limits 0 0 0
status self 0 0000000000004000 0 1 2 0 0
doctor "lock limit: CAP_IPC_LOCK"
is lock-limit good "with CAP_IPC_LOCK"
put proc/self/uid_map "         0       1000          1\n"
doctor "lock limit: CAP_IPC_LOCK of a user namespace"
is lock-limit bad
machine
with "page size: garbage" proc/self/smaps "KernelPageSize: 3 kB\n" page-size unknown "no page size"
with "pkeys: not there" proc/cpuinfo "flags\t: fpu pku\n" pkeys doubt
with "pkeys: not by a part of a word" proc/cpuinfo "flags\t: xospke ospkex\n" pkeys doubt
with "pkeys: arm64" proc/cpuinfo "Features\t: fp asimd poe\n" pkeys good
with "pkeys: no flags" proc/cpuinfo "processor: 0\n" pkeys unknown "no line with flags"
thp=sys/kernel/mm/transparent_hugepage/enabled
with "huge pages: always" $thp "[always] madvise never\n" huge-pages doubt
with "huge pages: never" $thp "always madvise [never]\n" huge-pages good never
with "huge pages: no mark" $thp "always madvise never\n" huge-pages unknown
without "huge pages: not in the kernel" sys/kernel/mm/transparent_hugepage huge-pages good "not in this kernel"
without "huge pages: no /sys" sys/kernel/mm huge-pages unknown
with "ksm: on" sys/kernel/mm/ksm/run "1\n" ksm doubt
with "ksm: parted" sys/kernel/mm/ksm/run "2\n" ksm good
with "ksm: 3" sys/kernel/mm/ksm/run "3\n" ksm unknown
with "ksm: 1x" sys/kernel/mm/ksm/run "1x\n" ksm unknown "not a number"
with "ksm: too large" sys/kernel/mm/ksm/run "99999999999999999999\n" ksm unknown "not a number"
without "ksm: not in the kernel" sys/kernel/mm/ksm ksm good "not in this kernel"
without "ksm: no /sys" sys ksm unknown
with "map count: small" proc/sys/vm/max_map_count "1000\n" map-count doubt "about 500"
with "map count: negative" proc/sys/vm/max_map_count "-5\n" map-count doubt "about 0"

# ---- disk ----
block() { # NAME [UUID]
    mkdir -p "$fx/sys/class/block/$1/slaves"
    [ $# -lt 2 ] || put "sys/class/block/$1/dm/uuid" "$2\n"
}
below() { mkdir -p "$fx/sys/class/block/$1/slaves/$2"; }
one_swap() { # NAME LINE STATE WORDS [SWAPPINESS_STATE]
    swaps "$2"
    doctor "swap: $1"
    is swap "$3" "$4"
    [ $# -lt 5 ] || is swappiness "$5"
}
machine
block sda
block sda2
rmdir "$fx/sys/class/block/sda2/slaves"
put sys/class/block/sda2/partition "2\n"
block dm-0 "CRYPT-LUKS2-1234-swap"
block dm-1 "CRYPT-PLAIN-swap"
block dm-2 "LVM-abc"
below dm-2 dm-0
block dm-3 "LVM-def"
below dm-3 sda
block dm-4 "LVM-ghi"
below dm-4 dm-0
below dm-4 sda
block dm-5 "CRYPT-VERITY-x"
below dm-5 sda
block dm-6 "CRYPT-INTEGRITY-x"
below dm-6 dm-0
block dm-7 "LVM-loop"
below dm-7 dm-7
block dm-8 "LVM-gone"
below dm-8 dm-99
mkdir -p "$fx/sys/class/block/loop0/loop"
one_swap "a partition" "/dev/sda2 partition" bad "1 of 1 not encrypted: /dev/sda2" doubt
one_swap "LUKS" "/dev/dm-0 partition" good "all encrypted" good
one_swap "plain dm-crypt" "/dev/dm-1 partition" good "all encrypted"
one_swap "LVM on LUKS" "/dev/dm-2 partition" good "all encrypted"
one_swap "LVM on a disk" "/dev/dm-3 partition" bad "/dev/dm-3"
one_swap "LVM on LUKS and a disk" "/dev/dm-4 partition" bad "/dev/dm-4"
one_swap "verity hides nothing" "/dev/dm-5 partition" bad "/dev/dm-5"
one_swap "integrity on LUKS" "/dev/dm-6 partition" good "all encrypted"
mkdir -p "$fx/sys/devices/md0/md0p1" "$fx/sys/devices/md0/slaves/dm-0"
put sys/devices/md0/md0p1/partition "1\n"
ln -s ../../devices/md0/md0p1 "$fx/sys/class/block/md0p1"
one_swap "a partition of an array on LUKS" "/dev/md0p1 partition" good "all encrypted"
one_swap "layers without an end" "/dev/dm-7 partition" unknown "cannot be seen"
one_swap "a layer that is not there" "/dev/dm-8 partition" unknown "cannot be seen" doubt
one_swap "a device that is not there" "/dev/sdz partition" unknown "/dev/sdz"
one_swap "a loop device" "/dev/loop0 partition" unknown "/dev/loop0"
one_swap "a name that leads away" "/dev/../dev/dm-0 partition" unknown "cannot be seen"
one_swap "no device" "dm-0 partition" unknown "cannot be seen"
swaps "/dev/dm-0 partition" "/dev/sda2 partition" "/dev/sdz partition"
doctor "swap: three kinds"
is swap bad "1 of 3 not encrypted: /dev/sda2"
is zram good "no swap is on zram"
swaps "/dev/dm-0 partition" "/dev/sdz partition"
doctor "swap: one unclear"
is swap unknown "/dev/sdz"
for value in 0 1; do with "swappiness $value" proc/sys/vm/swappiness "$value\n" swappiness good; done
without "swappiness: missing" proc/sys/vm/swappiness swappiness unknown
with "swaps: no list" proc/swaps "nonsense\n" swap unknown "not a list"
with "swaps: half a line" proc/swaps "Filename\n/dev/sda2\n" swap unknown "not a list"
# zram
block zram0
one_swap "zram without write-back in the kernel" "/dev/zram0 partition" good "on zram" good
is zram good "without a device"
put sys/class/block/zram0/backing_dev "none\n"
one_swap "zram" "/dev/zram0 partition" good "on zram"
put sys/class/block/zram0/backing_dev "/dev/dm-0\n"
one_swap "zram, writes back to LUKS" "/dev/zram0 partition" good "all encrypted"
is zram doubt "1 of 1"
put sys/class/block/zram0/backing_dev "/dev/sda2\n"
one_swap "zram, writes back to a partition" "/dev/zram0 partition" bad "/dev/zram0"
is zram doubt
put sys/class/block/zram0/backing_dev "/dev/../x\n"
one_swap "zram, writes back to garbage" "/dev/zram0 partition" unknown "/dev/zram0"
put sys/class/block/zram0/backing_dev ""
one_swap "zram, writes back to nothing" "/dev/zram0 partition" unknown "/dev/zram0"
one_swap "zram that is not there" "/dev/zram7 partition" unknown "/dev/zram7"
# files
put ./swapfile x
put "data/swap file" x
put other/swapfile x
mkdir -p "$fx/sys/dev/block"
ln -s ../../class/block/sda2 "$fx/sys/dev/block/8:1"
ln -s ../../class/block/dm-0 "$fx/sys/dev/block/253:0"
put proc/self/mountinfo "20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 8:1 / /data rw - ext4 /dev/sda1 rw
22 20 253:0 / /data rw - ext4 /dev/mapper/data rw
23 20 0:40 / /other rw - btrfs /dev/sda9 rw
24 20 0:22 / /proc rw - proc proc rw
25 20 253:0 / /swap rw - ext4 /dev/mapper/data rw
26 20 9:9 / /far\\\\040away rw - ext4 /dev/x rw
nonsense\n"
one_swap "a file on a partition" "/swapfile file" bad "/swapfile"
one_swap "a file on LUKS, mounted over a partition" '/data/swap\040file file' good "all encrypted"
one_swap "a file on a file system without a device" "/other/swapfile file" unknown "/other/swapfile"
one_swap "a file that is not here" "/gone file" unknown "/gone"
put "far away/swapfile" x
one_swap "a file on a device that is not there" '/far\040away/swapfile file' unknown "/far away/swapfile"
without "a file, and no list of mounts" proc/self/mountinfo swap unknown

# hibernation
machine
mkdir -p "$fx/sys/dev/block"
block sda2
block dm-0 "CRYPT-LUKS2-x"
ln -s ../../class/block/sda2 "$fx/sys/dev/block/8:2"
ln -s ../../class/block/dm-0 "$fx/sys/dev/block/253:0"
sleep_to() { # NAME DISK RESUME STATE WORDS
    put sys/power/disk "$2\n"
    put sys/power/resume "$3\n"
    doctor "hibernation: $1"
    is hibernation "$4" "$5"
}
sleep_to "no swap" "[platform]" 0:0 good "not configured"
sleep_to "no swap, though a device" "[platform]" 8:2 good "not configured"
swaps "/dev/sda2 partition"
sleep_to "no device" "[platform]" 0:0 doubt "no device to resume from"
sleep_to "in the clear" "[platform]" 8:2 bad "not encrypted"
sleep_to "to LUKS" "[platform]" 253:0 good "encrypted"
sleep_to "to what is not there" "[platform]" 9:9 unknown "device 9:9"
sleep_to "garbage" "[platform]" x unknown "not a device number"
sleep_to "more garbage" "[platform]" 8:2x unknown "not a device number"
put proc/cmdline "quiet\n"
rm "$fx/sys/kernel/security/lockdown"
sleep_to "refused now" "[disabled]" 8:2 doubt "refused now"
sleep_to "refused now, not configured" "[disabled]" 0:0 good "refused now"
put proc/cmdline "quiet nohibernate\n"
sleep_to "nohibernate" "[disabled]" 8:2 good "off since boot"
rm "$fx/proc/cmdline"
sleep_to "no command line" "[disabled]" 8:2 doubt "refused now"
put sys/kernel/security/lockdown "none [integrity] confidentiality\n"
sleep_to "lockdown" "[disabled]" 8:2 good "off since boot"
swaps "/dev/dm-0 partition"
sleep_to "no device, encrypted swap" "[platform]" 0:0 good "possible"
without "hibernation: no resume" sys/power/resume hibernation unknown
without "hibernation: not in the kernel" sys/power/disk hibernation good "not in this kernel"
is hibernation-blockers good "not configured"
without "hibernation: no /sys" sys/power hibernation unknown
is hibernation-blockers unknown
sleep_to "blockers" "[platform]" 8:2 bad ""
is hibernation-blockers good "nobody has live"
put proc/$process/maps "00400000-00401000 rw-s 00000000 00:0d 1 /secretmem (deleted)\n"
put proc/78/maps "7f0000000000-7f0000001000 rw-s 00000000 00:0d 1                          /secretmem (deleted)\n"
doctor "hibernation: live secretmem"
is hibernation-blockers doubt "in 2 processes"
has "hibernation: live secretmem" "77 (worker)" "$out"
has "hibernation: live secretmem" "78 (?)" "$out"
put proc/$process/maps "x\n"
rm -r "$fx/proc/78/maps"
mkdir "$fx/proc/78/maps"
doctor "hibernation: maps that cannot be read"
is hibernation-blockers unknown "maps of 1 processes"

# ---- dumps ----
machine
pattern=proc/sys/kernel/core_pattern
with "core: a pipe" $pattern "|/usr/share/apport/apport -p%p\n" core-pattern bad "a pipe to /usr/share/apport/apport -"
with "core: a pipe, a space" $pattern "| /lib/handler\n" core-pattern bad "a pipe to /lib/handler"
with "core: true" $pattern "|/usr/bin/true\n" core-pattern good
with "core: a socket" $pattern "@/run/cores\n" core-pattern bad "a socket: /run/cores"
with "core: a file" $pattern "core\n" core-pattern doubt "in the directory of the process"
with "core: a file somewhere" $pattern "/var/crash/%e\n" core-pattern doubt "a file: /var/crash/%e - "
with "core: no name" $pattern "\n" core-pattern good "empty"
with "core: no name, but a number" proc/sys/kernel/core_uses_pid "1\n" core-pattern good false
put proc/sys/kernel/core_uses_pid "1\n"
with "core: a number" $pattern "\n" core-pattern doubt ".PID"
with "core: orders to a terminal" $pattern "\033[31mcore\302\233x\n" core-pattern doubt "?[31mcore??x"
without "core: no pattern" $pattern core-pattern unknown
is core-limit doubt "could not be read"
core() { # PATTERN SOFT STATE WORDS
    put $pattern "$1\n"
    limits 8388608 8388608 "$2"
    doctor "core limit $2, pattern $1"
    is core-limit "$3" "$4"
}
core core 0 good "no core file"
core "|/x" 0 doubt "0 does not stop"
core "@/x" 0 doubt "0 does not stop"
core "|/bin/false" 0 good "no core file"
core "|/x" 1 good "neither"
core "@/x" 1 bad "1 byte soft"
mv "$fx/$pattern" "$work/away"
limits 8388608 8388608 1
doctor "core limit 1, no pattern"
is core-limit doubt "could not be read"
mv "$work/away" "$fx/$pattern"
core core unlimited bad "unlimited soft"
core "|/bin/false" unlimited good "throws"
core core 4096 bad "4 KiB soft"
filter=proc/self/coredump_filter
with "core filter: default" $filter "00000033\n" core-filter doubt 0x33
with "core filter: headers only" $filter "00000010\n" core-filter good
with "core filter: garbage" $filter "xyz\n" core-filter unknown
with "suid_dumpable 1" proc/sys/fs/suid_dumpable "1\n" suid-dumpable bad
with "suid_dumpable 2" proc/sys/fs/suid_dumpable "2\n" suid-dumpable doubt
with "suid_dumpable 3" proc/sys/fs/suid_dumpable "3\n" suid-dumpable unknown
with "kdump" sys/kernel/kexec_crash_loaded "1\n" kdump doubt
without "kdump: not in the kernel" sys/kernel/kexec_crash_loaded kdump good "not in this kernel"
without "kdump: no /sys" sys/kernel kdump unknown

# ---- readers ----
machine
yama=proc/sys/kernel/yama/ptrace_scope
with "ptrace_scope 0" $yama "0\n" ptrace-scope bad "sysctl -w kernel.yama.ptrace_scope=1"
with "ptrace_scope 2" $yama "2\n" ptrace-scope good CAP_SYS_PTRACE
with "ptrace_scope 3" $yama "3\n" ptrace-scope good "nobody"
with "ptrace_scope 4" $yama "4\n" ptrace-scope unknown
without "no Yama" proc/sys/kernel/yama ptrace-scope bad "boot with lsm="
without "no /proc/sys" proc/sys ptrace-scope unknown
lockdown=sys/kernel/security/lockdown
with "lockdown: none" $lockdown "[none] integrity confidentiality\n" lockdown doubt
is kcore good "there is no"
with "lockdown: integrity" $lockdown "none [integrity] confidentiality\n" lockdown doubt
with "lockdown: garbage" $lockdown "nonsense\n" lockdown unknown "no mode is marked"
without "lockdown: missing" $lockdown lockdown unknown
put dev/mem ""
doctor "/dev/mem, lockdown"
is dev-mem good lockdown
with "/dev/mem, integrity" $lockdown "none [integrity] confidentiality\n" dev-mem good lockdown
put $lockdown "[none] integrity confidentiality\n"
doctor "/dev/mem, unknown kernel"
is dev-mem unknown config-RELEASE
with "/dev/mem, strict" boot/config-6.12.0 "CONFIG_X=y\nCONFIG_STRICT_DEVMEM=y\n" dev-mem good strict
with "/dev/mem, not strict" boot/config-6.12.0 "# CONFIG_STRICT_DEVMEM is not set\n" dev-mem bad "not strict"
with "/dev/mem, strict as Fedora says it" lib/modules/6.12.0/config "CONFIG_STRICT_DEVMEM=y\n" dev-mem good strict
with "/dev/mem, a config without it" boot/config-6.12.0 "CONFIG_STRICT_DEVMEM_X=y\n# CONFIG_STRICT_DEVMEM\n" dev-mem unknown
with "/dev/mem, a kernel with a slash" proc/sys/kernel/osrelease "../../etc\n" dev-mem unknown
without "no /dev" dev dev-mem unknown
put proc/kcore x
doctor "kcore"
is kcore doubt
with "kcore, integrity" $lockdown "none [integrity] confidentiality\n" kcore doubt
with "kcore, confidentiality" $lockdown "none integrity [confidentiality]\n" kcore good lockdown
rm "$fx/proc/kcore"
ln -s /dev/null "$fx/proc/kcore"
doctor "kcore, masked"
is kcore good masked
status self 0 000001ffffffffff 0 1 2 0 0
doctor "capabilities of root"
is capabilities doubt "CAP_SYS_PTRACE, CAP_SYS_ADMIN"
with "capabilities in a user namespace" proc/self/uid_map "0 1000 1\n" capabilities doubt "in its user namespace"
status self 0 0000000000004000 0 1 2 0 0
doctor "a capability that reads nothing"
is capabilities good
with "capabilities: missing" proc/self/status "Name:\tx\n" capabilities unknown CapEff
with "capabilities: garbage" proc/self/status "CapEff:\txyz\n" capabilities unknown CapEff
perf=proc/sys/kernel/perf_event_paranoid
with "perf 4" $perf "4\n" perf-events good
with "perf 1" $perf "1\n" perf-events doubt
with "perf 0" $perf "0\n" perf-events bad
with "perf -1" $perf "-1\n" perf-events bad
without "perf: not in the kernel" $perf perf-events good "not in this kernel"
bpf=proc/sys/kernel/unprivileged_bpf_disabled
with "bpf 0" $bpf "0\n" unprivileged-bpf bad
with "bpf 1" $bpf "1\n" unprivileged-bpf good
with "bpf 7" $bpf "7\n" unprivileged-bpf unknown
without "bpf: not in the kernel" $bpf unprivileged-bpf good "not in this kernel"
mounts=proc/self/mountinfo
for mode in 1 2 4 noaccess invisible ptraceable; do
    with "hidepid=$mode" $mounts "24 1 0:22 / /proc rw - proc proc rw,hidepid=$mode,gid=5\n" hidepid good "hidepid=$mode"
done
with "hidepid=off" $mounts "24 1 0:22 / /proc rw - proc proc rw,hidepid=off\n" hidepid doubt "hidepid=off"
with "no hidepid" $mounts "24 1 0:22 / /proc rw - proc proc rw\n" hidepid doubt "no hidepid"
with "hidepid: the last mount counts" $mounts \
    "24 1 0:22 / /proc rw - proc proc rw,hidepid=2\n25 1 0:23 / /proc rw - proc proc rw\n" hidepid doubt
with "hidepid: something else is there" $mounts "24 1 0:22 / /proc rw - tmpfs tmpfs rw\n" hidepid unknown
with "hidepid: elsewhere" $mounts "24 1 0:22 / /x/proc rw - proc proc rw,hidepid=2\n" hidepid unknown "no /proc in it"

# ---- cpu ----
machine
vulnerable meltdown "Vulnerable"
vulnerable l1tf "Mitigation: PTE Inversion; VMX: SMT vulnerable"
doctor "vulnerable"
is vulnerabilities bad "1 of 3 open: meltdown - "
vulnerable itlb_multihit "KVM: Vulnerable"
vulnerable srbds "Processor vulnerable"
doctor "more of them"
is vulnerabilities bad "3 of 5 open"
vulnerable meltdown "KVM: Mitigation: VMX disabled"
rm "$fx/sys/devices/system/cpu/vulnerabilities/itlb_multihit" "$fx/sys/devices/system/cpu/vulnerabilities/srbds"
doctor "mitigated in part"
is vulnerabilities doubt "1 of 3: l1tf"
vulnerable l1tf "Unknown: No mitigations"
doctor "not known"
is vulnerabilities doubt "1 of 3: l1tf"
vulnerable l1tf "Not affected"
mkdir "$fx/sys/devices/system/cpu/vulnerabilities/new"
doctor "one cannot be read"
is vulnerabilities unknown "1 of 4 could not be read"
rm -r "$fx/sys/devices/system/cpu/vulnerabilities"
doctor "the kernel does not tell"
is vulnerabilities unknown
mkdir "$fx/sys/devices/system/cpu/vulnerabilities"
doctor "the kernel tells nothing"
is vulnerabilities unknown "0 of 0"
machine
boot() { # NAME CMDLINE STATE WORDS: of both switches; ALLOC_STATE
    put proc/cmdline "$2\n"
    doctor "boot: $1"
    is init-on-free "$3" "$4"
    is init-on-alloc "$5" "$4"
}
boot on "init_on_free=1 init_on_alloc=1" good "command line" good
boot "on, in words" "init_on_free=on init_on_alloc=y" good "command line" good
boot off "init_on_free=0 init_on_alloc=0" bad "command line" doubt
boot "off, in words" "init_on_free=off init_on_alloc=n" bad "command line" doubt
boot "the last one counts" "init_on_free=0 init_on_free=1 init_on_alloc=0 init_on_alloc=1" good "command line" good
boot "what is for init does not count" "quiet -- init_on_free=1 init_on_alloc=1" unknown "not on the kernel's command line" unknown
boot "garbage" "init_on_free=maybe init_on_alloc= init_on_free init_on_freex=1" unknown "not on" unknown
put boot/config-6.12.0 "CONFIG_INIT_ON_FREE_DEFAULT_ON=y\nCONFIG_INIT_ON_ALLOC_DEFAULT_ON=y\n"
boot "built so" "quiet" good "was built" good
put boot/config-6.12.0 "# CONFIG_INIT_ON_FREE_DEFAULT_ON is not set\n# CONFIG_INIT_ON_ALLOC_DEFAULT_ON is not set\n"
boot "not built so" "quiet" bad "was built" doubt
rm "$fx/proc/sys/kernel/osrelease"
boot "release not known" "quiet" unknown "not on" unknown
rm "$fx/proc/cmdline"
doctor "no command line"
is init-on-free unknown "/proc/cmdline"
is init-on-alloc unknown "/proc/cmdline"
machine
sealed() { # NAME FLAGS CMDLINE STATE WORDS
    put proc/cpuinfo "flags\t\t: $2\n"
    put proc/cmdline "$3\n"
    doctor "memory encryption: $1"
    is memory-encryption "$4" "$5"
}
sealed none "fpu" "quiet" doubt "none seen"
sealed "SME, not asked for" "fpu sme" "quiet" doubt "SME, not known"
sealed "SME, off" "fpu sme" "mem_encrypt=off" doubt "SME, not known"
sealed SME "fpu sme sev" "mem_encrypt=on" good "SME, on"
sealed "asked for, not there" "fpu" "mem_encrypt=on" doubt "none seen"
sealed TME "fpu tme" "quiet" doubt "TME, not known"
sealed "TDX by its flag" "fpu tdx_guest" "quiet" good "TDX guest"
mkdir -p "$fx/sys/class/misc/tdx_guest"
sealed "TDX by its device" "fpu" "quiet" good "TDX guest"
mkdir -p "$fx/sys/class/misc/sev-guest"
sealed "SEV" "fpu" "quiet" good "SEV-SNP guest"
machine
with "memory encryption: no flags" proc/cpuinfo "processor: 0\n" memory-encryption unknown

# ---- hygiene: the environment ----
machine
environ=proc/self/environ
secret_names="API_KEY GITHUB_TOKEN PGPASSWORD db_password MYSQL_PWD AWS_SECRET_ACCESS_KEY MY_TOKENS PASSPHRASE MyPassword KEYS OPENAI_APIKEY HTTP_COOKIE SENTRY_DSN WALLET_SEED OTP"
plain_names="HOME PWD OLDPWD SSH_AUTH_SOCK PGPASSFILE XAUTHORITY MONKEY KEYBOARD TOKENIZERS_PARALLELISM
AWS_ACCESS_KEY_ID BYPASS SSH_ASKPASS DB_PASSWORD_FILE TOKEN_PATH COMPASS PASSENGER KEY_NAME AUTHOR"
for var in $secret_names; do printf '%s=%s\0' "$var" "$needle"; done >"$work/secret_environ"
for var in $plain_names; do printf '%s=%s\0' "$var" "$needle"; done >"$work/plain_environ"
cp "$work/plain_environ" "$fx/$environ"
doctor "environment: names that are none"
is environment good "$(echo "$plain_names" | wc -w) variables"
cat "$work/secret_environ" >>"$fx/$environ"
doctor "environment: names of secrets"
is environment bad "  $(echo "$secret_names" | sed 's/ /, /g') - "
with "environment: several" $environ "MY_KEY=$needle\0A=1\0DB_PASS=$needle" environment bad "MY_KEY, DB_PASS - "
with "environment: a value that looks like a name" $environ "A=MY_PASSWORD=$needle\0" environment good
with "environment: a name that is not plain" $environ "x%%_KEY=$needle\0MY_KEY=$needle\0" environment bad "MY_KEY and 1 more"
with "environment: only names that are not plain" $environ "x%%_KEY=$needle\0" environment bad "and 1 more"
with "environment: written over" $environ "postgres: writer\0MY_KEY=$needle\0" environment bad "1 secret-looking; not shown"
hasnot "environment: written over" "MY_KEY" "$out"
with "environment: written over, with a sign" $environ "sshd: a=b\0y_TOKEN=x\0" environment bad "not shown"
with "environment: written over, nothing left" $environ "postgres: writer\0\0\0\0\0" environment unknown "wrote over"
with "environment: none" $environ "" environment good "0 variables"
put proc/self/status "Name:\tx\nState:\tZ (zombie)\nCapEff:\t0\n"
with "environment: of what has ended" $environ "" environment unknown "has ended"
machine
{ i=0; while [ $i -lt 200 ]; do printf 'SECRET_%d_TOKEN=%s\0' $i "$needle"; i=$((i + 1)); done; } >"$fx/$environ"
doctor "environment: many"
is environment bad "more"
{ printf 'LONG='; head -c 100000 /dev/zero | tr '\0' x; printf '\0LAST_KEY=%s\0' "$needle"; } >"$fx/$environ"
doctor "environment: one that is long"
is environment bad "LAST_KEY"
{ head -c 5000 /dev/zero | tr '\0' K; printf '_KEY=%s\0' "$needle"; } >"$fx/$environ"
doctor "environment: a name that is long"
is environment unknown
machine

# ---- hygiene: a process ----
about() { doctor "$1" --pid $process; }
about "a process"
has "a process" "^process 77 (worker)" "$out"
for id in no-new-privs seccomp tracer locked-memory swapped-memory memfds; do is "$id" good; done
put proc/$process/comm "\033[2Jx\n"
about "a process with orders in its name"
has "a process with orders in its name" "^process 77 (?.2Jx)" "$out"
rm "$fx/proc/$process/comm"
about "a process without a name"
has "a process without a name" "^process 77 (?)" "$out"
status $process 1000 000001ffffffffff 5 0 0 0 12
limits 0 0 unlimited $process
put proc/$process/environ "MY_KEY=$needle\0"
put proc/$process/coredump_filter "33\n"
put $pattern "core\n"
about "a process that is badly set up"
is tracer bad "process 5"
is no-new-privs doubt
is seccomp doubt off
is locked-memory doubt
is swapped-memory doubt "12 KiB"
is lock-limit bad
is core-limit bad
is core-filter doubt
is capabilities doubt CAP_SYS_PTRACE
is environment bad MY_KEY
status $process 1000 0 0 1 1 0 12
swaps "/dev/sda2 partition"
mkdir -p "$fx/sys/class/block/sda2"
about "a process on a bad swap"
is seccomp good strict
is swapped-memory bad "not known to be encrypted"
ln -s "/memfd:key (deleted)" "$fx/proc/$process/fd/5"
about "a file in memory"
is memfds doubt "1: 5: key - "
ln -s "/secretmem" "$fx/proc/$process/fd/6"
about "two of them"
is memfds doubt "2: "
has "two of them" "6: secretmem" "$out"
rm "$fx/proc/$process/fd/5" "$fx/proc/$process/fd/6"
put proc/$process/fd/7 ""
about "a descriptor that is no link"
is memfds unknown "1 of the process's descriptors"
rm -r "$fx/proc/$process/fd"
about "no descriptors to be seen"
is memfds unknown "/proc/77/fd: No such file"
put proc/$process/status "Name:\tx\nUid:\tx\n"
about "a status without what is asked for"
for id in tracer no-new-privs seccomp locked-memory swapped-memory dumpable; do is "$id" unknown "there is no line"; done
rm "$fx/proc/$process/status"
about "no status"
for id in tracer no-new-privs seccomp locked-memory swapped-memory dumpable; do is "$id" unknown "/proc/77/status: No such"; done
status $process 0 0 0 1 1 0 0
about "a process of root"
is dumpable unknown "looks the same"
me=$(stat -c %u "$fx/proc/$process")
if [ "$me" -eq 0 ]; then
    status $process 1000 0 0 1 1 0 0
    about "not dumpable"
    is dumpable good
    chown 1000 "$fx/proc/$process"
    about "dumpable"
    is dumpable bad
    chown 1001 "$fx/proc/$process"
    about "of somebody else"
    is dumpable unknown "belongs to user 1001"
else
    status $process "$me" 0 0 1 1 0 0
    about "dumpable"
    is dumpable bad
    skip "owners other than this user: not root"
fi

# ---- files that are not as they should be: never a crash, never taken for fine ----
machine
used="proc/self/limits:lock-limit,core-limit proc/self/smaps:page-size proc/cpuinfo:pkeys,memory-encryption
$thp:huge-pages sys/kernel/mm/ksm/run:ksm proc/sys/vm/max_map_count:map-count proc/swaps:swap,zram,swappiness
sys/power/disk:hibernation sys/power/resume:hibernation-blockers $pattern:core-pattern $filter:core-filter
proc/sys/fs/suid_dumpable:suid-dumpable sys/kernel/kexec_crash_loaded:kdump $yama:ptrace-scope $lockdown:lockdown
proc/self/status:capabilities $perf:perf-events $bpf:unprivileged-bpf $mounts:hidepid $environ:environment
sys/devices/system/cpu/vulnerabilities/meltdown:vulnerabilities proc/cmdline:init-on-free,init-on-alloc"
printf '\001\377\033[31mgarbage 7 \\u0000 "quotes\\ \302\205 \342\200\256\342\201\246 \355\240\200 \r\n more' >"$work/garbage"
printf '1\0%s' 2 >"$work/binary"
head -c 3000000 /dev/zero | tr '\0' A >"$work/huge"
: >"$work/empty"
on_all() { # COMMAND...: runs it with each path of these files
    for entry in $used; do "$@" "$fx/${entry%%:*}"; done
}
ids_of_all() { for entry in $used; do echo "${entry##*:}" | tr , '\n'; done; }
not_good() { # KIND [ID...]: none of the facts that need these files is good, but those named
    kind=$1
    shift
    doctor "all $kind"
    for id in $(ids_of_all); do
        case " $* " in *" $id "*) continue ;; esac
        case $(state_of "$id") in
        bad | doubt | unknown) pass ;;
        *) fail "all $kind: $id is '$(state_of "$id")'"; grep "$id" "$out" ;;
        esac
    done
    check "all $kind: control characters" "$(LC_ALL=C tr -d '[:print:]\n\200-\377' <"$out")" ""
    check "all $kind: UTF-8" "$(iconv -f UTF-8 -t UTF-8 <"$out" 2>&1 >/dev/null)" ""
    run "all $kind: JSON" 0 doctor --root "$fx" --json
    valid_json "all $kind" "$out"
}
put_garbage() { cp "$work/garbage" "$1"; }
put_binary() { cp "$work/binary" "$1"; }
put_huge() { cp "$work/huge" "$1"; }
put_empty() { : >"$1"; }
put_directory() { rm "$1" && mkdir "$1"; }
put_pipe() { rmdir "$1" && mkfifo "$1"; }
put_device() { rm "$1" && ln -s /dev/zero "$1"; }
put_loop() { rm "$1" && ln -s loop "$1" && ln -sf loop "$(dirname "$1")/loop"; }
# Contents of /sys/power/disk are all the same but one, and an empty environment is one.
for kind in garbage binary huge empty directory pipe device loop; do
    on_all put_$kind
    case $kind in
    garbage | huge) not_good $kind hibernation ;;
    empty) not_good $kind environment ;;
    *) not_good $kind ;;
    esac
    case $kind in
    pipe | device)
        doctor "all $kind, why"
        is ksm unknown "not a file to be read"
        ;;
    esac
done
mkdir -p "$work/void/proc" "$work/void/sys" # mount points without anything on them
run "an empty root" 0 doctor --root "$work/void"
check "an empty root: nothing is good" "$(awk '$2 == "good"' "$out")" ""
check "an empty root: nothing is known" "$(awk '/^  [a-z]/ && $2 != "unknown"' "$out")" ""
run "an empty root, required" 1 doctor --root "$work/void" --require swap
machine
put $pattern '/tmp/"quo\\ted"\n'
printf 'MY_KEY=x\0' >"$fx/$environ"
run "quotes: JSON" 0 doctor --root "$fx" --json
valid_json quotes "$out"
has quotes '\\"quo\\\\ted\\"' "$out"

# ---- unreadable files ----
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    cp "$command" "$work/memguard" && chmod 755 "$work/memguard"
    printf '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all "%s/memguard" "$@"\n' \
        "$work" >"$work/lower"
    chmod 755 "$work/lower"
    plain=$work/lower
elif [ "$(id -u)" -ne 0 ]; then
    plain=$command
else
    plain=""
    skip "as a plain user: no setpriv"
fi
if [ -n "$plain" ]; then
    machine
    real=$command command=$plain
    on_all chmod 000
    not_good unreadable
    doctor "unreadable"
    is ptrace-scope unknown "Permission denied"
    machine
    # The live machine, as a plain user, in want of lockable memory.
    run "live, plain user" 0 doctor
    check "live, plain user: a line each" "$(grep -c '^  [a-z]' "$out")" "$lines"
    is environment bad PLANTED_PASSWORD
    run "live, plain user, JSON" 0 doctor --json
    valid_json "live, plain user" "$out"
    printf '#!/bin/sh\nulimit -l 0\nexec "%s" "$@"\n' "$plain" >"$work/poor"
    chmod 755 "$work/poor"
    command=$work/poor
    run "no lockable memory" 0 doctor
    is lock-limit bad "no vault can be made"
    # Sanitizers make mlock(2) a success: then only memfd_secret(2) meets the limit.
    case $(state_of vault) in
    bad) is vault bad "lockable memory" ;;
    *) skip "a vault without lockable memory: this build does not lock ($(state_of vault))" ;;
    esac
    run "no lockable memory, required" 1 doctor --require memfd-secret
    case $(state_of memfd-secret) in
    bad) skip "memfd_secret(2) without lockable memory: not in this kernel" ;;
    *) is memfd-secret unknown "could not be made" ;;
    esac
    command=$plain
    printf '#!/bin/sh\nulimit -l 20\nexec "%s" "$@"\n' "$plain" >"$work/poor"
    command=$work/poor
    run "little lockable memory" 0 doctor
    is lock-limit bad "hardly anything"
    case $(state_of vault) in
    doubt) is vault doubt "no room for all" ;;
    *) skip "a vault with little lockable memory: this build does not lock ($(state_of vault))" ;;
    esac
    command=$plain
    MEMGUARD_BACKEND=plain
    export MEMGUARD_BACKEND
    run "backend plain" 0 doctor
    is vault bad "backend plain"
    MEMGUARD_BACKEND=nonsense
    run "backend nonsense" 0 doctor
    is vault bad
    MEMGUARD_BACKEND=locked
    run "backend locked" 0 doctor
    is vault doubt "backend locked"
    unset MEMGUARD_BACKEND
    if [ "$real" != "$plain" ]; then
        setpriv --reuid=65534 --regid=65534 --clear-groups sleep 20 &
        planted=$!
        sleep 0.3
        run "live, a process of this user" 0 doctor --pid $planted
        is dumpable bad
        is environment bad PLANTED_PASSWORD
        is tracer good
        kill $planted
        wait $planted 2>/dev/null
        sleep 20 &
        planted=$!
        run "live, a process of root" 0 doctor --pid $planted
        is environment unknown "Permission denied"
        is memfds unknown "Permission denied"
        kill $planted
        wait $planted 2>/dev/null
    fi
    command=$real
fi

# ---- the live machine ----
run live 0 doctor
check "live: a line each" "$(grep -c '^  [a-z]' "$out")" "$lines"
is environment bad PLANTED_PASSWORD
case $(state_of vault) in good | doubt | bad) pass ;; *) fail "live: the vault could not be tried" ;; esac
run "live, JSON" 0 doctor --json
valid_json live "$out"
run "live, strict" 1 doctor --strict
sleep 20 &
planted=$!
run "live, --pid" 0 doctor --pid $planted --json
valid_json "live, --pid" "$out"
has "live, --pid" "\"pid\": $planted" "$out"
run "live, --pid, text" 0 doctor --pid $planted
check "live, --pid: a line each" "$(grep -c '^  [a-z]' "$out")" "$(echo "$ids" | wc -l)"
kill $planted
wait $planted 2>/dev/null
run "live, a process that ended" 2 doctor --pid $planted
# Where the kernel refuses.
if command -v strace >/dev/null && strace -f -o /dev/null true 2>/dev/null; then
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
    export ASAN_OPTIONS
    refuse() { # NAME CALL HOW
        out=$all/out.$2.${3##*=}
        strace -f -o "$work/trace" -e trace="$2" -e inject="$2:$3" "$command" doctor >"$out" 2>"$err" </dev/null
        name="$1"
        check "$1: exit code" "$?" 0
    }
    refuse "no memfd_secret" memfd_secret error=ENOSYS
    is memfd-secret bad "fix: Linux 6.5"
    refuse "no pipe" pipe2 error=EMFILE
    is vault unknown "no pipe or process"
    is memfd-secret unknown "no pipe or process"
    refuse "the trial is killed" memfd_secret signal=KILL
    is vault unknown "the trial died"
else
    skip "refused system calls: no strace that works"
fi

# ---- on a terminal lines are folded, and colours are used ----
if command -v script >/dev/null && script -qec true /dev/null >/dev/null 2>&1; then
    machine
    swaps "/dev/sda2 partition"
    mkdir -p "$fx/sys/class/block/sda2"
    unset NO_COLOR
    out=$all/out.terminal
    esc=$(printf '\033')
    for columns in 80 40; do
        script -qec "stty cols $columns; TERM=xterm '$command' doctor --root '$fx'" /dev/null </dev/null | tr -d '\r' >"$out"
        has "terminal of $columns: colour" "$esc\[31mbad" "$out"
        sed -i "s/$esc\[[0-9]*m//g" "$out"
        check "terminal of $columns: folded" "$(awk -v columns=$columns 'length > columns && NF > 1' "$out")" "" # a word that is longer stays whole
        check "terminal of $columns: no spaces at the end" "$(grep -c ' $' "$out")" 0
        check "terminal of $columns: facts" "$(grep -c '^  [a-z]' "$out")" "$lines"
        has "terminal of $columns: what it means, on a line of its own" "^      equal pages are not merged$" "$out"
        has "terminal of $columns: the fix, on a line of its own" "^      fix: " "$out"
    done
    has "terminal: the value, beside the state" "^  ksm  *good  *0 (off)$" "$out"
    has "terminal: a value that is too long, below it" "^      1 of 1 not encrypted: /dev/sda2$" "$out"
    script -qec "stty cols 30; TERM=dumb '$command' doctor --root '$fx'" /dev/null </dev/null | tr -d '\r' >"$out"
    hasnot "a dumb terminal: colour" "$esc" "$out"
    has "a terminal of 30: a line a fact" "^  ksm  *good  *0 (off) - equal pages are not merged$" "$out"
else
    skip "a terminal: no script(1)"
fi

# ---- what was never printed ----
check "values of the environment" "$(grep -l -r -F -- "$needle" "$all")" ""
check "names of the environment" "$(grep -q -r PLANTED_PASSWORD "$all" && echo seen)" seen
check "all that was printed was looked at" "$([ "$(find "$all" -name 'out.*' | wc -l)" -gt "$runs" ] && echo yes)" yes
finish
