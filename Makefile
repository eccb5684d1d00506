# make demo and make test are all a newcomer needs. They install a Vulkan driver if there is none (Debian, Ubuntu).

# The demonstration: four epochs of the benchmark's 100-epoch schedule.
DEMO = compare --optimizers adam,tridiag-sonew,band-4-sonew --epochs 4 --schedule paper=100 --out runs/demo --overwrite

# Mesa's loader complains on standard error if this is unset.
export XDG_RUNTIME_DIR ?= /tmp
# Snapshots are a contract: a test run never rewrites them.
export INSTA_UPDATE ?= no

.PHONY: help setup demo test test-vulkan check bench clean
help:
	@echo 'make demo         build and train the autoencoder with Adam and SONew (about ten minutes)'
	@echo 'make test         all tests'
	@echo 'make test-vulkan  the tests that use a device, in the SPIR-V build'
	@echo 'make check        formatting, clippy, documentation'
	@echo 'make bench        criterion benches of the optimizer step'
	@echo 'make clean        remove what was built'

setup:
	@sh scripts/setup.sh

demo: setup
	cargo build --release --locked -p sonew-harness
	./target/release/sonew $(DEMO)
	@echo
	@cat runs/demo/table.md
	@echo
	@echo 'Next: ./target/release/sonew train --help'
	@echo '      ./target/release/sonew optimizers        settings of every optimizer'
	@echo '      ./target/release/sonew kernel --list     kernels to run on your own arrays'

# A wgpu device wants one thread.
test: setup
	cargo test --workspace --locked -- --test-threads=1

# CubeCL chooses WGSL or SPIR-V when it is built, so the second build has a folder of its own.
test-vulkan: setup
	CARGO_TARGET_DIR=target/vulkan cargo test --workspace --locked --features vulkan -- --test-threads=1

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

bench: setup
	cargo bench --locked -p sonew-benches

clean:
	cargo clean
