package version_test

import (
	"context"
	"fmt"
	"os"

	"github.com/firstseen/firstseen/version"
)

// Prices arrive out of order; an older one never replaces a newer one.
func ExampleStore_Observe() {
	dir, err := os.MkdirTemp("", "versions")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := version.Open(dir, version.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	ctx := context.Background()
	for _, v := range []uint64{1, 3, 2, 3} {
		a, err := s.Observe(ctx, []byte("price of 4711"), v)
		fmt.Println(v, a.Verdict, a.Current, err)
	}
	// Output:
	// 1 apply 1 <nil>
	// 3 apply 3 <nil>
	// 2 stale 3 <nil>
	// 3 stale 3 <nil>
}

// In strict mode nothing is skipped. Many updates make one sync.
func ExampleStore_ObserveBatch() {
	dir, err := os.MkdirTemp("", "versions")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := version.Open(dir, version.Options{Strict: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	answers, err := s.ObserveBatch(context.Background(), nil, []version.Update{
		{Entity: []byte("account 1"), Version: 1},
		{Entity: []byte("account 1"), Version: 3},
		{Entity: []byte("account 1"), Version: 2},
	})
	fmt.Println(answers, err)
	current, err := s.Current(context.Background(), []byte("account 1"))
	fmt.Println(current, err)
	// Output:
	// [{apply 1} {gap 1} {apply 2}] <nil>
	// 2 <nil>
}
