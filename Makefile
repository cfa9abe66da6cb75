# What each target does: make help.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
GO       ?= go
FUZZTIME ?= 10s
FUZZMEM  ?= 4000000
BENCH    ?= .
SEEDS    ?= 10000
MODULES  := adapters/rocketmq adapters/rocketmqv4 examples/rocketmq # their clients bring old, heavy modules

.PHONY: help build test servers race race-faults sabotage lint tidy fuzz bench bench-once walk dedupbench faults servers-long ci clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: ## both commands, to bin/
	$(GO) build -o bin/ ./cmd/...

# Kafka, NATS, RabbitMQ, Redis Streams and Watermill take long: they are left to make servers.
test: ## everything that must hold, under five minutes, but for the brokers of make servers
	$(GO) vet ./...
	scripts/in-memory $(GO) test -p 3 -timeout 20m -skip '^TestKafkaCommand' $$($(GO) list ./... | grep -vE '/adapters/(kafka|kafka/partitioned|nats|rabbitmq|redisstreams|watermill)$$|/examples/(nats|rabbitmq|redisstreams)$$')
	@for m in $(MODULES); do echo "== $$m"; (cd $$m && $(GO) vet ./... && $(CURDIR)/scripts/in-memory $(GO) test -short ./...) || exit 1; done

servers: ## adapters and stores on real servers, installed and started here; long forms: make servers-long
	scripts/brokers install all
	scripts/brokers fetch
	FIRSTSEEN_REQUIRE_SERVERS=1 $(GO) test -count 1 -p 1 -timeout 60m ./stores/... ./adapters/... ./examples/...
	FIRSTSEEN_REQUIRE_SERVERS=1 $(GO) test -count 1 -timeout 10m -run '^TestKafkaCommand' ./cmd/firstseen/
	@for m in $(MODULES); do echo "== $$m"; (cd $$m && FIRSTSEEN_REQUIRE_SERVERS=1 $(GO) test -count 1 -timeout 60m ./...) || exit 1; done

race: ## the library under the race detector, without the engine's long streams and faults
	scripts/in-memory $(GO) test -race -short -timeout 30m -skip 'TestFaults|TestStream' ./dedup/... ./adapters/consume/ ./bloom/ ./shards/ ./persist/ ./engine/ ./internal/...

race-faults: ## the engine's long streams and the short form of its faults under the race detector
	$(GO) test -race -timeout 60m -run 'TestFaults|TestStream' ./engine/

sabotage: ## puts wrong lines into the code, one after the other: tests have to see each of them
	FIRSTSEEN_SABOTAGE=1 scripts/in-memory $(GO) test -count 1 -parallel 2 -timeout 40m -v -run '^TestSabotage$$' ./internal/sabotage/ | grep -v '^=== '

lint: bin/golangci-lint ## gofmt and golangci-lint
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	bin/golangci-lint run ./...
	@for m in $(MODULES); do (cd $$m && $(CURDIR)/bin/golangci-lint run -c $(CURDIR)/.golangci.yml ./...) || exit 1; done

tidy: ## go mod tidy would change nothing
	@for m in . tools $(MODULES); do (cd $$m && $(GO) mod tidy -diff) || { echo "go mod tidy would change $$m"; exit 1; }; done

# Up to Go 1.26 the end of a fuzz target's time may be taken for its failure
# (golang/go#75804): such a target is tried once more, and one that wrote an input is not.
fuzz: ## every fuzz target for FUZZTIME, with at most FUZZMEM kB of memory a process
	@ulimit -d $(FUZZMEM); log=$$(mktemp); trap 'rm -f "$$log" "$$log.rc"' EXIT; \
	try() { { $(GO) test -run '^$$' -fuzz "^$$2\$$" -fuzztime $(FUZZTIME) "$$1"; echo $$? >"$$log.rc"; } 2>&1 | tee "$$log"; return "$$(cat "$$log.rc")"; }; \
	grep -rn --include='*_test.go' -oE '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's|/[^/]*:[0-9]+:func | |' | sort -u | \
	while read -r dir name; do \
		echo "== $$dir $$name"; \
		try "$$dir" "$$name" && continue; \
		grep -q 'context deadline exceeded' "$$log" && ! grep -q 'Failing input written' "$$log" || exit 1; \
		echo "== $$dir $$name once more: it found nothing, its time was up"; \
		try "$$dir" "$$name" || exit 1; \
	done

bench: bin/benchstat ## Go benchmarks matching BENCH, six times, through benchstat
	$(GO) test -run '^$$' -bench '$(BENCH)' -count 6 -timeout 2h ./... | tee build/bench.txt
	bin/benchstat build/bench.txt

walk: ## the functions that a batch of new keys passes, with file and line
	scripts/walk

bench-once: ## every Go benchmark once: do they still run?
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 20m ./...

dedupbench: ## the engine beside its peers, everything, under half an hour
	$(GO) run ./cmd/dedupbench run --full --json build/report.json --html build/report.html

faults: ## the fault suite and the model test in their long form (two hours); figures also in build/faults.json
	FIRSTSEEN_FAULTS=long FIRSTSEEN_FAULTS_JSON=$(CURDIR)/build/faults.json GOGC=400 \
		$(GO) test -count 1 -timeout 6h -v -run 'TestFault|TestRepair|TestModel' ./engine/ -model.seeds $(SEEDS) -model.ops 2000 | \
		grep -v -E '^=== |^ +--- PASS: TestModel'

ci: ## what a change has to pass
	.ci/run

servers-long: ## the shared stores on real servers, and the adapters' storms, in their long form; as root it installs what is missing
	scripts/brokers install all
	FIRSTSEEN_SERVERS=long FIRSTSEEN_REQUIRE_SERVERS=1 $(GO) test -count 1 -timeout 3h ./stores/...
	FIRSTSEEN_SERVERS=long FIRSTSEEN_REQUIRE_SERVERS=1 $(GO) test -count 1 -p 1 -timeout 3h -run Storm ./adapters/nats/ ./adapters/rabbitmq/ ./adapters/redisstreams/ ./adapters/watermill/
	FIRSTSEEN_SERVERS=long $(GO) test -count 1 -p 1 -timeout 1h -v -run '^TestKilled$$' ./adapters/httpidem/ ./adapters/rpcidem/
	FIRSTSEEN_SERVERS=long FIRSTSEEN_REQUIRE_SERVERS=1 $(GO) test -count 1 -timeout 1h -run 'Store' ./cmd/firstseen/
	FIRSTSEEN_SERVERS=long FIRSTSEEN_REQUIRE_SERVERS=1 $(GO) test -count 1 -p 1 -timeout 3h ./adapters/kafka/...
	@for m in $(MODULES); do (cd $$m && FIRSTSEEN_SERVERS=long FIRSTSEEN_REQUIRE_SERVERS=1 $(GO) test -count 1 -timeout 3h ./...) || exit 1; done
	FIRSTSEEN_REQUIRE_SERVERS=1 $(GO) test -count 1 -race -timeout 1h -run 'Guard|Hole' ./stores/...

clean: ## remove what the other targets made
	rm -rf bin build

bin/golangci-lint bin/benchstat: tools/go.mod tools/go.sum
	$(GO) build -C tools -o ../bin/ tool
	@touch bin/golangci-lint bin/benchstat

bench dedupbench faults: | build/
build/: ; @mkdir -p build
