#!/bin/sh
# Checks that what cannot be built here is there, and installs a Vulkan driver on Debian and Ubuntu if there is none.
#
#   setup.sh            any Vulkan driver will do
#   setup.sh software   needs Mesa's software driver (lavapipe), which the tests use
set -eu
# ldconfig lies where an ordinary user's PATH does not lead.
PATH="$PATH:/usr/sbin:/sbin"

case "${1:-any}" in
    any)      icds='*.json' wanted='Vulkan driver' ;;
    software) icds='lvp_icd*.json' wanted='software Vulkan driver' ;;
    *)        echo "setup: expected any or software, found $1" >&2; exit 2 ;;
esac

need() {
    command -v "$1" >/dev/null 2>&1 && return
    echo "setup: $1 not found; $2" >&2
    exit 1
}
has_loader() {
    ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' || [ -e /usr/lib/libvulkan.so.1 ]
}
has_driver() {
    # Whoever names the drivers decides.
    [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] && return 0
    for dir in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d "${HOME:-/root}/.local/share/vulkan/icd.d"; do
        # Unquoted: a pattern.
        for file in "$dir"/$icds; do
            [ -e "$file" ] && return 0
        done
    done
    return 1
}

need cargo "install Rust from https://rustup.rs"
need cc "install a C compiler (package gcc and libc6-dev on Debian and Ubuntu)"

# Elsewhere the driver comes with the system.
[ "$(uname -s)" = Linux ] || exit 0
if has_loader && has_driver; then
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: no $wanted found. Install the Vulkan loader and a driver; Mesa's lavapipe needs no GPU." >&2
    exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    need sudo "as root, run: apt-get install mesa-vulkan-drivers libvulkan1"
    as_root=sudo
fi
echo "setup: no $wanted found, installing mesa-vulkan-drivers"
# A broken source of other packages does not matter here; if ours is affected, the install says so.
$as_root apt-get update -q || echo "setup: apt-get update failed, trying to install anyway" >&2
# env: sudo does not pass variables on.
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends mesa-vulkan-drivers libvulkan1
if ! has_loader || ! has_driver; then
    echo "setup: mesa-vulkan-drivers is installed, but there is still no $wanted" >&2
    exit 1
fi
