#!/bin/sh
# Makes sure that a Vulkan driver is there: installs Mesa's software driver on Debian and Ubuntu if there is none.
set -eu

has_loader() {
    ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' || [ -e /usr/lib/libvulkan.so.1 ]
}
has_driver() {
    for dir in /usr/share/vulkan/icd.d /etc/vulkan/icd.d "${HOME:-/root}/.local/share/vulkan/icd.d"; do
        for file in "$dir"/*.json; do
            [ -e "$file" ] && return 0
        done
    done
    return 1
}

case "$(uname -s)" in
    Linux) ;;
    *) exit 0 ;; # Elsewhere the driver comes with the system.
esac
if has_loader && has_driver; then
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "No Vulkan driver found. Install the Vulkan loader and a driver (Mesa's lavapipe runs without a GPU)." >&2
    exit 1
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
fi
echo "No Vulkan driver found: installing mesa-vulkan-drivers"
$sudo apt-get update -q
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q mesa-vulkan-drivers libvulkan1
