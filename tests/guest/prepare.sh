#!/bin/sh
# Makes ready what the guest tests need in the folder $1: vmlinuz (Debian's small kernel, fetched once) and initrd (the programs in
# $1/root). Exits with 77 and says in its last line what cannot be had.
set -eu
folder=$1

cannot() { echo "$1"; exit 77; }
has() { command -v "$1" >/dev/null 2>&1; }

[ "$(uname -m)" = x86_64 ] || cannot "the guest is an x86-64 machine, this one is not"
[ -x "$folder/root/init" ] || cannot "the programs for the guest were not built (no static libsodium)"
for program in qemu-system-x86_64 cpio; do
    has "$program" || cannot "there is no $program"
done

# Debian's kernel for virtual machines: unpacked, not installed. Only the image is kept.
fetch_kernel() {
    has apt-get && has dpkg-deb || return 1
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    [ -n "$package" ] || return 1
    work=$(mktemp -d)
    chmod 755 "$work"
    # shellcheck disable=SC2015 # either step may fail
    (cd "$work" && apt-get download -qq "$package" && dpkg-deb --fsys-tarfile "$package"_*.deb | tar -xf - ./boot) >/dev/null 2>&1 &&
        mv "$work"/boot/vmlinuz-* "$folder/vmlinuz" || true
    rm -rf "$work"
    [ -s "$folder/vmlinuz" ]
}
if [ ! -s "$folder/vmlinuz" ]; then
    fetch_kernel || { [ "$(id -u)" = 0 ] && has apt-get && apt-get update -qq >/dev/null 2>&1 && fetch_kernel; } ||
        cannot "the kernel package linux-image-cloud-amd64 cannot be had"
fi
(cd "$folder/root" && find . | cpio -o -H newc --quiet) >"$folder/initrd.new" || cannot "cpio failed"
mv "$folder/initrd.new" "$folder/initrd"
