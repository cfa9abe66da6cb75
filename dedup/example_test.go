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

// A batch is claimed in one call. What cannot be handled is told from what was
// handled before by its verdict.
func ExampleVerdict() {
	ctx, guard := context.Background(), &memguard.Guard{}
	claims, err := guard.ClaimBatch(ctx, nil, [][]byte{[]byte("a"), []byte("b"), []byte("a")})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range claims {
		switch c.Verdict {
		case dedup.Fresh:
			fmt.Printf("%s: handle it, then Commit\n", c.Key)
		case dedup.InFlight:
			fmt.Printf("%s: have it delivered again later\n", c.Key)
		case dedup.Duplicate:
			fmt.Printf("%s: acknowledge it\n", c.Key)
		default:
			fmt.Printf("%s: cannot say\n", c.Key)
		}
	}
	// Output:
	// a: handle it, then Commit
	// b: handle it, then Commit
	// a: have it delivered again later
}

// The answer to a message is kept with its mark.
func ExampleClaim() {
	ctx, guard := context.Background(), &memguard.Guard{}
	claim, err := guard.Claim(ctx, []byte("order-1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	claim.Result = []byte("invoice 17")
	if err := guard.Commit(ctx, claim); err != nil {
		fmt.Println(err)
		return
	}
	again, err := guard.Claim(ctx, []byte("order-1"))
	fmt.Printf("%s: %s %v\n", again.Verdict, again.Result, err)
	// Output: duplicate: invoice 17 <nil>
}

// A failed handler gives its key up, and the next delivery has another token.
func ExampleToken() {
	ctx, guard := context.Background(), &memguard.Guard{}
	first, err := guard.Claim(ctx, []byte("order-1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(guard.Release(ctx, first))
	second, err := guard.Claim(ctx, []byte("order-1"))
	fmt.Println(second.Verdict, second.Token != first.Token, err)
	fmt.Println(guard.Commit(ctx, first))
	// Output:
	// <nil>
	// fresh true <nil>
	// dedup: lease lost: claim 0 of the call is no longer held
}

// Empty keys do not stop the rest of their batch.
func ExampleKeyError() {
	claims, err := (&memguard.Guard{}).ClaimBatch(context.Background(), nil, [][]byte{[]byte("a"), nil})
	var bad *dedup.KeyError
	if errors.As(err, &bad) {
		fmt.Println("without a key:", bad.Index)
	}
	fmt.Println(claims[0].Verdict, claims[1].Verdict)
	// Output:
	// without a key: 1
	// fresh unknown
}

// A handler that took too long finds that its key was claimed by somebody else.
func ExampleLeaseError() {
	ctx, guard := context.Background(), &memguard.Guard{}
	claim, err := guard.Claim(ctx, []byte("order-1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	guard.Steal([]byte("order-1"))
	err = guard.Commit(ctx, claim)
	var lost *dedup.LeaseError
	fmt.Println(errors.As(err, &lost), errors.Is(err, dedup.ErrLeaseLost))
	// Output: true true
}

// A result that is too long does not undo the effect: the key is marked.
func ExampleResultError() {
	ctx, guard := context.Background(), &memguard.Guard{MaxResult: 8}
	claim, err := guard.Claim(ctx, []byte("report"))
	if err != nil {
		fmt.Println(err)
		return
	}
	claim.Result = []byte("more than eight bytes")
	err = guard.Commit(ctx, claim)
	var result *dedup.ResultError
	fmt.Println(errors.As(err, &result), errors.Is(err, dedup.ErrResultTooLarge))
	again, err := guard.Claim(ctx, []byte("report"))
	fmt.Println(again.Verdict, errors.Is(err, dedup.ErrResultTooLarge))
	// Output:
	// true true
	// duplicate true
}

// Where a file is damaged, the error says which one.
func ExampleCorruptError() {
	err := fmt.Errorf("opening: %w", &dedup.CorruptError{File: "journal", Offset: 4096, Detail: "wrong checksum"})
	var damage *dedup.CorruptError
	if errors.Is(err, dedup.ErrCorrupt) && errors.As(err, &damage) {
		fmt.Println(damage.File, damage.Offset)
	}
	// Output: journal 4096
}
