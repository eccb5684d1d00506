# `make demo` and `make test` are all a newcomer needs. They install a Vulkan driver if there is none (Debian, Ubuntu).

# The demonstration: the first four epochs of the benchmark's 100-epoch schedule.
DEMO_OUT = runs/demo
DEMO = compare --optimizers adam,tridiag-sonew,band-4-sonew --epochs 4 --schedule paper=100 --out $(DEMO_OUT) --overwrite

TARGET := $(or $(CARGO_TARGET_DIR),target)

# Mesa complains on standard error if this is unset or names no folder.
ifeq ($(and $(XDG_RUNTIME_DIR),$(wildcard $(XDG_RUNTIME_DIR)/.)),)
export XDG_RUNTIME_DIR := $(or $(TMPDIR),/tmp)
endif
# Snapshots are a contract: a test run does not rewrite them unless told to.
export INSTA_UPDATE ?= no

.PHONY: help setup setup-tests nvrtc demo test test-vulkan kills check bench gpu-report clean
help:
	@echo 'make demo         build, then train the autoencoder with Adam and SONew (twelve to eighteen minutes on two cores)'
	@echo 'make test         all tests'
	@echo 'make test-vulkan  the tests of kernels and optimizers, with kernels compiled to SPIR-V instead of WGSL'
	@echo 'make kills        kill runs 50 times, also on a full disk, and compare what goes on with whole runs (as root)'
	@echo 'make check        formatting, clippy, documentation'
	@echo 'make bench        criterion benches'
	@echo 'make gpu-report   check and measure every GPU of this machine, and write a report to report/'
	@echo 'make clean        remove what was built'

setup:
	@sh scripts/setup.sh any

setup-tests:
	@sh scripts/setup.sh software

demo: setup
	cargo build --release --locked -p sonew-harness
	$(TARGET)/release/sonew $(DEMO)
	@echo
	@echo 'Next:'
	@echo '  $(TARGET)/release/sonew train --help      one optimizer, every setting'
	@echo '  $(TARGET)/release/sonew optimizers        the optimizers and their settings'
	@echo '  $(TARGET)/release/sonew kernel --list     the kernels, to run on arrays of your own'

# NVIDIA's run-time compiler, which takes the CUDA text of every kernel in the tests. They say so where it is not to be had.
nvrtc:
	@sh scripts/nvrtc.sh >/dev/null || echo 'setup: the tests go without NVRTC' >&2

# One test thread: devices are not shared between threads.
test: setup-tests nvrtc
	cargo test --workspace --locked --no-fail-fast -- --test-threads=1

# The same build; the texts of other backends are not tested twice.
VULKAN_TESTS = kernels network groups launches matrix numerics recipe shampoo traces
test-vulkan: setup-tests
	SONEW_TEST_DEVICE=vulkan:cpu cargo test --workspace --locked $(addprefix --test ,$(VULKAN_TESTS)) -- --test-threads=1

# The full form of the test `resume`.
kills: setup-tests
	@bash scripts/kills.sh

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

bench: setup
	cargo bench --workspace --locked

gpu-report: setup
	cargo build --release --locked -p sonew-harness
	$(TARGET)/release/sonew report

clean:
	cargo clean
