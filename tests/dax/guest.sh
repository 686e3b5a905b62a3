#!/bin/sh
# A throw-away machine with persistent memory: QEMU (emulated, no KVM needed) with an NVDIMM, a Debian kernel, and a
# root of busybox, ndctl, mkfs.ext4 and mkfs.xfs in memory. Nothing is installed: packages of Debian trixie come by apt
# from the mirror that this machine's own sources name, signatures checked, and are unpacked under the cache folder.
#
#   guest.sh setup                        fetch and build, once (about 20 s and 400 MB); status 77 and one line if it cannot
#   guest.sh boot FOLDER PMEM KIND DISK   boot; FOLDER is laid over the guest's root and brings /task, which is run;
#                                         PMEM is the file behind the persistent memory, KIND nvdimm, cpu-cache
#                                         (its persistence domain includes the caches) or virtio; DISK becomes /dev/vda
#
# `boot` becomes QEMU (exec): killing its process cuts the guest's power. The console is standard output; the line
# "@@ended N" is the task's status.
#
# Why not the QEMU of Debian 12: 7.2 corrupts the flags of emulated guests now and then, one boot in ten dies.
# What this guest cannot show: QEMU's stores go straight to the host's page cache, so a power cut loses no store,
# flushed or not. It proves the real kernel's side (MAP_SYNC, devdax, mappings, file systems, recovery after the death
# of a machine); which stores may be lost is explored by `make crash`.
set -eu
suite=trixie
here=$(cd "$(dirname "$0")" && pwd)
cache=${PAGESTONE_GUEST:-${CARGO_TARGET_DIR:-$here/../../target}/guest}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
root=$cache/debian                # unpacked packages
base=$cache/base                  # the guest's root
modules="nfit nd_pmem dax_pmem device_dax virtio_pci virtio_blk virtio_pmem ext4 xfs crc32c_generic"
programs="usr/sbin/mkfs.ext4 usr/sbin/mkfs.xfs usr/bin/ndctl"

skip() {
    echo "guest.sh: $*" >&2
    exit 77
}

# The mirror of the machine's own sources that carries Debian's main archive.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Component: main' 'Created-By: Packages' |
        grep '/debian/$' | head -n 1
}

# apt with its state in the cache folder: it neither reads nor changes what is installed here.
private_apt() {
    command=$1
    shift
    APT_CONFIG=$cache/apt/conf "$command" -qq "$@"
}

prepare_apt() {
    archive=$(mirror)
    [ -n "$archive" ] || skip "apt knows no Debian archive here (run apt-get update)"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keys" ] || skip "the package debian-archive-keyring is missing"
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
    echo "deb [signed-by=$keys] $archive $suite main" > "$cache/apt/sources"
    cat > "$cache/apt/conf" <<-CONF
	Dir::Etc::SourceList "$cache/apt/sources";
	Dir::Etc::SourceParts "/dev/null";
	Dir::State::Lists "$cache/apt/lists";
	Dir::State::status "/dev/null";
	Dir::Cache "$cache/apt";
	APT::Install-Recommends "false";
	APT::Sandbox::User "";
	CONF
    private_apt apt-get update || skip "the package lists of Debian $suite cannot be fetched"
}

fetch() {
    prepare_apt
    private_apt apt-get install -y --download-only qemu-system-x86 busybox-static ndctl xfsprogs e2fsprogs libgcc-s1 \
        > "$cache/apt/log" 2>&1 || skip "the packages of Debian $suite cannot be fetched (see $cache/apt/log)"
    kernel=$(private_apt apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
    (cd "$cache/apt/archives" && private_apt apt-get download "$kernel") >> "$cache/apt/log" 2>&1 ||
        skip "the kernel $kernel cannot be fetched (see $cache/apt/log)"
    rm -rf "$root"
    mkdir -p "$root"
    for package in "$cache"/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$root"
    done
    rm -rf "$cache/apt"
}

# A program of the unpacked packages, run with their own loader and libraries.
loader() {
    echo "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu"
}

# Copies a program and the libraries it needs.
copy_program() {
    mkdir -p "$base/bin"
    cp -L "$root/$1" "$base/bin/"
    $(loader) --list "$root/$1" | grep -o "$root/[^ ]*" | while read -r library; do
        cp -Ln "$library" "$base/lib/" 2>/dev/null || true
    done
}

# Copies the kernel's modules and those they need, unpacked: busybox cannot read .xz.
copy_modules() {
    version=$(ls "$root/usr/lib/modules")
    from=$root/usr/lib/modules/$version
    find "$from" -name '*.ko.xz' -exec xz -d {} +
    [ -e "$root/lib/modules" ] || ln -sfn usr/lib "$root/lib"
    "$root/usr/bin/busybox" depmod -b "$root" "$version"
    mkdir -p "$base/lib/modules/$version"
    for module in $modules; do
        grep -E "/$module\.ko:" "$from/modules.dep" | tr -d : | tr ' ' '\n'
    done | sort -u | while read -r file; do
        cp "$from/$file" "$base/lib/modules/$version/"
    done
    "$root/usr/bin/busybox" depmod -b "$base" "$version"
}

build() {
    rm -rf "$base"
    mkdir -p "$base/bin" "$base/sbin" "$base/lib" "$base/dev" "$base/proc" "$base/sys" "$base/tmp" "$base/mnt" "$base/etc"
    cp "$root/usr/bin/busybox" "$base/bin/"
    for applet in $("$root/usr/bin/busybox" --list); do
        [ -e "$base/bin/$applet" ] || ln -s busybox "$base/bin/$applet"
    done
    rm -f "$base/bin/mkfs.ext2" "$base/bin/mke2fs"
    ln -s /bin/busybox "$base/sbin/modprobe"
    ln -s lib "$base/lib64"
    for program in $programs; do
        copy_program "$program"
    done
    cp "$root"/usr/lib/x86_64-linux-gnu/libgcc_s.so.1 "$root"/usr/lib/x86_64-linux-gnu/libm.so.6 "$base/lib/"
    cp -r "$root/etc/ndctl" "$base/etc/"
    copy_modules
    echo "$modules" > "$base/etc/load"
    cp "$here/init" "$base/init"
    chmod +x "$base/init"
    cp "$root"/boot/vmlinuz-* "$cache/kernel"
    (cd "$base" && find . | "$root/usr/bin/busybox" cpio -o -H newc) > "$cache/base.new" 2>/dev/null
    mv "$cache/base.new" "$cache/base.cpio"
}

setup() {
    [ "$(uname -m)" = x86_64 ] || skip "the guest is an x86-64 machine"
    for tool in apt-get apt-cache dpkg-deb xz awk; do
        command -v $tool >/dev/null || skip "$tool is missing"
    done
    [ -e "$cache/fetched" ] || { fetch; touch "$cache/fetched"; }
    # The root is built anew when what makes it has changed.
    if ! [ "$cache/base.cpio" -nt "$here/guest.sh" ] || ! [ "$cache/base.cpio" -nt "$here/init" ]; then
        build
    fi
}

# QEMU's arguments for the persistent memory. Its label area takes the last 128 KiB, and alignment the rest of 2 MiB.
memory() {
    size=$(stat -c %s "$1")
    back=memory-backend-file,id=pmem,share=on,mem-path=$1,size=$size,align=2M
    case $2 in
    nvdimm) echo "-machine pc,nvdimm=on,nvdimm-persistence=mem-ctrl -object $back -device nvdimm,memdev=pmem,label-size=128K" ;;
    cpu-cache) echo "-machine pc,nvdimm=on,nvdimm-persistence=cpu -object $back -device nvdimm,memdev=pmem,label-size=128K" ;;
    virtio) echo "-machine pc -object $back -device virtio-pmem-pci,memdev=pmem" ;;
    *) echo "guest.sh: no kind of memory: $2" >&2; exit 2 ;;
    esac
}

boot() {
    overlay=$1 pmem=$2 kind=$3 disk=$4
    initrd=$pmem.initrd
    { cat "$cache/base.cpio"; (cd "$overlay" && find . | "$root/usr/bin/busybox" cpio -o -H newc 2>/dev/null); } > "$initrd"
    QEMU_MODULE_DIR=$root/usr/lib/x86_64-linux-gnu/qemu exec $(loader) "$root/usr/bin/qemu-system-x86_64" \
        -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" \
        -accel tcg,thread=multi -cpu max -smp 2 -m 1G,slots=4,maxmem=16G $(memory "$pmem" "$kind") \
        -nodefaults -no-user-config -display none -no-reboot -serial stdio \
        -drive file="$disk",if=none,id=disk,format=raw,cache=none,aio=threads -device virtio-blk-pci,drive=disk \
        -kernel "$cache/kernel" -initrd "$initrd" \
        -append "quiet console=ttyS0 panic=-1 nokaslr no_timer_check tsc=unstable loglevel=4" </dev/null
}

case ${1:-} in
setup) setup ;;
boot) shift; boot "$@" ;;
*) sed -n '2,/^set -eu/{/^#/p}' "$0"; exit 2 ;;
esac
