package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/memguard"
)

// A payment is made once for each request, however often the client asks.
func ExampleDo() {
	dir, err := os.MkdirTemp("", "firstseen")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	guard, err := engine.Open(dir, engine.Options{Window: 24 * time.Hour, MaxResult: 1 << 10}) // or a shared store
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Close()

	ctx := context.Background()
	pay := func(context.Context) ([]byte, error) {
		fmt.Println("paying")
		return []byte("receipt 17"), nil
	}
	for range 2 {
		answer, err := dedup.Do(ctx, guard, []byte("request-1"), pay, dedup.DoOptions{})
		fmt.Printf("%s, replayed: %v, error: %v\n", answer.Result, answer.Replayed, err)
	}
	// Output:
	// paying
	// receipt 17, replayed: false, error: <nil>
	// receipt 17, replayed: true, error: <nil>
}

func ExampleDoValue() {
	type receipt struct{ Number int }
	ctx, guard := context.Background(), &memguard.Guard{}
	for n := range 2 {
		r, replayed, err := dedup.DoValue(ctx, guard, []byte("request-1"), func(context.Context) (receipt, error) {
			return receipt{Number: n}, nil
		}, dedup.DoOptions{})
		fmt.Println(r.Number, replayed, err)
	}
	// Output:
	// 0 false <nil>
	// 0 true <nil>
}

// A declined card is an answer; a lost connection would not be one. The same
// request with another amount is the client's mistake.
func ExampleDoOptions() {
	declined := errors.New("card declined")
	ctx, guard := context.Background(), &memguard.Guard{}
	pay := func(context.Context) ([]byte, error) { return nil, declined }
	for _, amount := range []string{"10 EUR", "10 EUR", "99 EUR"} {
		_, err := dedup.Do(ctx, guard, []byte("request-1"), pay, dedup.DoOptions{
			Final:       func(err error) bool { return errors.Is(err, declined) },
			Fingerprint: []byte(amount),
		})
		var final *dedup.FinalError
		fmt.Printf("%v; final: %v, mismatch: %v\n", err, errors.As(err, &final), errors.Is(err, dedup.ErrMismatch))
	}
	// Output:
	// card declined; final: true, mismatch: false
	// card declined; final: true, mismatch: false
	// dedup: the key was used with another payload; final: false, mismatch: true
}

// Some claims of a batch were lost to somebody else: their messages are
// delivered again, all others are done.
func ExampleIndexesOf() {
	ctx, guard := context.Background(), &memguard.Guard{}
	claims, err := guard.ClaimBatch(ctx, nil, [][]byte{[]byte("a"), []byte("b"), []byte("c")})
	if err != nil {
		fmt.Println(err)
		return
	}
	guard.Steal([]byte("b"))
	err = guard.Commit(ctx, claims...)
	fmt.Println(dedup.IndexesOf(err, dedup.ErrLeaseLost))
	// Output: [1]
}

// Handle first, mark after.
func ExampleGuard() {
	var guard dedup.Guard = &memguard.Guard{} // or an engine, or a shared store
	ctx := context.Background()
	for _, id := range []string{"order-1", "order-1"} {
		claim, err := guard.Claim(ctx, []byte(id))
		switch {
		case err != nil:
			fmt.Println("deliver it again:", err)
		case claim.Verdict == dedup.Fresh:
			fmt.Println("handle it:", guard.Commit(ctx, claim)) // Release when the handler fails
		default:
			fmt.Println(claim.Verdict)
		}
	}
	// Output:
	// handle it: <nil>
	// duplicate
}
