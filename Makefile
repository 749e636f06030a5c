# Galley's commands. `make help` lists them.
BUILD := build/release
GALLEY := build/bin/galley
JOBS ?= $(shell nproc)
MODEL ?= models/demo
PORT ?= 8000
ARGS ?=
CMAKE_FLAGS ?=

.PHONY: help setup build serve test test-asan test-tsan bench lint format fuzz clean
.DEFAULT_GOAL := help

help: ## Show this list
	@echo "Galley: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "Variables: MODEL=$(MODEL) PORT=$(PORT) JOBS=$(JOBS) ARGS='flags for galley serve'"

setup: ## Install the packages that building needs (says what first)
	@tools/setup/install build

build: setup ## Build the program: build/bin/galley
	@[ -f $(BUILD)/build.ninja ] || cmake --preset release -DGALLEY_TESTS=OFF $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD) --target galley -j $(JOBS)

serve: build ## Serve the demo model on 127.0.0.1:8000 (MODEL=, PORT=, ARGS=)
	@exec $(GALLEY) serve --model $(MODEL) --port $(PORT) $(ARGS)

test: ## Install what the suite needs, build it, run all of it
	@tools/setup/install build test
	@cmake --preset release -DGALLEY_TESTS=ON $(CMAKE_FLAGS) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS)
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS) --no-tests=error --timeout 600

test-asan: ## The suite under AddressSanitizer and UBSan
	@tools/setup/install build test
	@cmake --preset asan >/dev/null && cmake --build --preset asan -j $(JOBS) && ctest --preset asan -j $(JOBS)

test-tsan: ## The suite under ThreadSanitizer
	@tools/setup/install build test
	@cmake --preset tsan >/dev/null && cmake --build --preset tsan -j $(JOBS) && ctest --preset tsan -j $(JOBS)

bench: build ## Time operations and the whole engine on the demo model
	@$(GALLEY) bench ops $(ARGS)
	@$(GALLEY) bench offline --model $(MODEL) $(ARGS)

lint: ## clang-format and clang-tidy
	@tools/setup/install build test lint
	@tools/lint

format: ## Format every source file in place
	@git ls-files '*.cc' '*.h' '*.cu' | xargs clang-format-14 -i

fuzz: ## Fuzz every parser of outside bytes, SECONDS=60 each
	@tools/setup/install build test fuzz
	@tools/fuzz $(or $(SECONDS),60)

clean: ## Remove everything that was built
	@rm -rf build
