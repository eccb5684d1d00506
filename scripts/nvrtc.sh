#!/bin/sh
# Puts NVIDIA's runtime compiler and the CUDA headers into a cache folder and prints its path. Needs no GPU, no driver and
# no rights: they come from NVIDIA's wheels on PyPI (about 130 MB) and are only unpacked.
#
#   SONEW_NVRTC         the folder; ${XDG_CACHE_HOME:-$HOME/.cache}/sonew/cuda-VERSION if unset
#
# runtime/src/recorder/nvrtc.rs names the same folder: change the version in both.
set -eu
version=12.9.86
headers=12.9.79

fail() {
    echo "nvrtc: $1" >&2
    exit 1
}

folder=${SONEW_NVRTC:-${XDG_CACHE_HOME:-${HOME:?nvrtc: set SONEW_NVRTC or HOME}/.cache}/sonew/cuda-$version}
if [ -e "$folder/lib/libnvrtc.so.12" ] && [ -e "$folder/include/cuda_runtime.h" ] && [ -e "$folder/include/crt/mma.h" ]; then
    echo "$folder"
    exit 0
fi
[ "$(uname -s)" = Linux ] || fail "the libraries unpacked here are Linux's; this is $(uname -s)"
[ ! -e "$folder" ] || fail "$folder is there but lacks lib/libnvrtc.so.12, include/cuda_runtime.h or include/crt/mma.h; remove it or set SONEW_NVRTC"
python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip not found; install python3-pip"

# Unpacked beside its place, so that the folder is there only when it is whole.
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" \
    "nvidia-cuda-nvrtc-cu12==$version" "nvidia-cuda-runtime-cu12==$headers" "nvidia-cuda-nvcc-cu12==$version" >&2 ||
    fail "pip could not download the wheels of CUDA $version"
for wheel in "$work"/*.whl; do
    python3 -m zipfile -e "$wheel" "$work" || fail "cannot unpack $wheel"
done
# A second build of the same library, as large.
rm -f "$work"/nvidia/cuda_nvrtc/lib/*.alt.*
mkdir "$work/whole"
# NVRTC brings the headers of crt/ itself, but for those of matrix units.
mv "$work/nvidia/cuda_nvrtc/lib" "$work/nvidia/cuda_runtime/include" "$work/whole" &&
    mkdir -p "$work/whole/include/crt" && mv "$work"/nvidia/cuda_nvcc/include/crt/mma.h* "$work/whole/include/crt" ||
    fail "the wheels of CUDA $version do not hold what was expected"
mv "$work/whole" "$folder"
echo "$folder"
