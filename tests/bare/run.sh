#!/bin/sh
# `make test-bare`: what README's "Two commands" promises, tried as a newcomer would: a Debian in a folder, made by debootstrap,
# with the packages that README's line of apt names and a stable Rust, and nothing else; an account without rights; a clean clone.
# Needs root, debootstrap, the archive that this machine's apt uses, 12 GB and about half an hour. KEEP=1 leaves the folder.
# The toolchain and the crates are copies of this machine's, so that nothing but Debian's archive is asked for.
set -eu
cd "$(dirname "$0")/../.."
lacks() { echo "make test-bare lacks $1"; exit 1; }
[ "$(id -u)" = 0 ] || lacks "the rights of root, which debootstrap and chroot need"
command -v debootstrap >/dev/null || lacks "debootstrap (apt install debootstrap)"
command -v rustup >/dev/null || lacks "rustup, whose stable toolchain is what a newcomer has (https://rustup.rs)"
toolchain=$(dirname "$(dirname "$(rustup which --toolchain stable rustc)")")
crates=${CARGO_HOME:-$HOME/.cargo}
${CARGO:-cargo} fetch --quiet --locked || lacks "the crates of Cargo.lock (cargo fetch)"
packages=$(sed -n 's/^sudo apt install \(.*\)/\1/p' README.md | head -n 1)
[ -n "$packages" ] || { echo "README.md names no packages after \"sudo apt install\""; exit 1; }
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Component: main' 'Created-By: Packages' |
    grep '/debian/$' | head -n 1)

bare=${CARGO_TARGET_DIR:-$PWD/target}/bare
root=$bare/root
home=$root/srv/newcomer
step() { printf '\n== %s\n' "$*"; }

# Mounts are in a namespace of their own, so that none is left behind.
if [ "${1:-}" != inside ]; then
    exec unshare --mount --pid --fork --kill-child sh "$0" inside
fi
rm -rf "$bare"
mkdir -p "$root"

step "Debian $suite, with $packages"
debootstrap --variant=minbase "$suite" "$root" "${mirror:-http://deb.debian.org/debian/}" >"$bare/log" 2>&1 ||
    { tail -n 5 "$bare/log"; exit 1; }
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
chroot "$root" sh -ec "apt-get update && apt-get install --yes $packages" >>"$bare/log" 2>&1 ||
    { tail -n 5 "$bare/log"; exit 1; }

step "stable Rust, the crates, a clone"
chroot "$root" useradd --create-home --home-dir /srv/newcomer --shell /bin/sh newcomer
mkdir "$home/.cargo"
cp -aL "$toolchain" "$home/rust"
cp -a "$crates/registry" "$home/.cargo"
[ ! -f "$crates/config.toml" ] || cp "$crates/config.toml" "$home/.cargo"
git clone --quiet . "$home/pagestone"
chroot "$root" chown -R newcomer: /srv/newcomer

newcomer() {
    step "$*"
    chroot --userspec=newcomer:newcomer "$root" /usr/bin/env -i HOME=/srv/newcomer USER=newcomer TERM=dumb \
        PATH=/srv/newcomer/rust/bin:/usr/local/bin:/usr/bin:/bin CARGO_NET_OFFLINE=true \
        sh -c "cd /srv/newcomer/pagestone && $*"
}
failures=0
newcomer make demo || failures=$((failures + 1))
newcomer make test || failures=$((failures + 1))
[ -n "${KEEP:-}" ] || rm -rf --one-file-system "$root/srv" "$root/usr" "$root/var"
printf 'summary: test-bare cases=2 states=0 schedules=0 failures=%d\n' "$failures"
[ "$failures" = 0 ]
