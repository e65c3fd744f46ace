# The short names for everything; Meson and Ninja do the work in build/.
BUILD  ?= build
ASAN   ?= build-asan
MESON  ?= meson
export DEBIAN_FRONTEND = noninteractive

.PHONY: help build run demo test test-long bench fuzz format clean
help:
	@echo "make run        install what is missing, build, and start sonde on http://127.0.0.1:8080"
	@echo "make demo       try the detector on sample recordings"
	@echo "make build      install what the build needs and build build/sonde"
	@echo "make test       install what the tests need and run all of them (ends with N passed, N failed, N skipped)"
	@echo "make test-long  make test and the slow checks: data races, memory of long files, the training code"
	@echo "make bench      measure against ONNX Runtime, PyTorch, AASIST, nginx, Fastify, s3cmd, rclone, side by side; several processes on servers"
	@echo "make fuzz       run every fuzz target for FUZZ_SECONDS (default 600)"
	@echo "make format     apply clang-format"

build:
	@tools/setup.sh build
	@test -f $(BUILD)/build.ninja || $(MESON) setup $(BUILD) -Dtests=false
	@ninja -C $(BUILD)

run: build
	@exec $(BUILD)/sonde serve

demo: build
	@tools/setup.sh demo
	@tools/demo.sh $(BUILD)/sonde

test:
	@tools/test.sh

test-long:
	@tools/test.sh --long

bench: build
	@tools/setup.sh bench
	@node bench/run.mjs
	@node bench/whole.mjs
	@node bench/server.mjs
	@ninja -C $(BUILD) bench/bench_accept bench/bench_delay bench/bench_blob
	@node bench/cluster.mjs
	@node bench/s3.mjs

fuzz:
	@tools/setup.sh fuzz
	@tools/fuzz.sh

format:
	@tools/setup.sh format
	@tools/format.sh --apply

clean:
	rm -rf build build-asan build-tsan build-fuzz
