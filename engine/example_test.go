package engine_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// A consumer handles each message once: claim, handle, commit.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "firstseen")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	e, err := engine.Open(dir, engine.Options{Window: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()

	ctx := context.Background()
	for _, id := range []string{"order-1", "order-2", "order-1"} {
		claim, err := e.Claim(ctx, []byte(id))
		switch {
		case err != nil:
			log.Fatal(err) // no verdict: let the broker deliver it again
		case claim.Verdict == dedup.Fresh:
			fmt.Println("handle", id)
			err = e.Commit(ctx, claim) // or Release, when handling it failed
		case claim.Verdict == dedup.Duplicate:
			fmt.Println("skip", id) // acknowledge it and do nothing else
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// handle order-1
	// handle order-2
	// skip order-1
}

// Marking on sight, many keys at a time: the fastest way.
func ExampleEngine_AdmitBatch() {
	dir, err := os.MkdirTemp("", "firstseen")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	e, err := engine.Open(dir, engine.Options{Window: time.Hour, Sync: engine.SyncInterval})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()

	keys := [][]byte{[]byte("a"), []byte("b"), []byte("a")}
	verdicts, err := e.AdmitBatch(context.Background(), nil, keys)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verdicts)
	verdicts, err = e.AdmitBatch(context.Background(), verdicts[:0], keys[1:2]) // reuses the memory
	fmt.Println(verdicts, err)
	// Output:
	// [fresh fresh duplicate]
	// [duplicate] <nil>
}
