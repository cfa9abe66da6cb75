package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestKeyLists: contains and forget of lists, with keys of all kinds.
func TestKeyLists(t *testing.T) {
	f := func(dir, in, out string, code int, args ...string) {
		t.Helper()
		args = append(args[:1:1], append([]string{dir, "-"}, args[1:]...)...)
		if r := firstseen(t, strings.NewReader(in), args...); r.out != out || r.code != code || r.err != "" {
			t.Fatalf("%q of %q: %+v, want %q and exit code %d", args, in, r, out, code)
		}
	}
	dir := filled(t, "a\nb\r\n\nc\td\n")
	f(dir, "a\nx\n\nb\r\nb\nc\td", "yes\ta\nno\tx\nyes\t\nyes\tb\r\nno\tb\nyes\tc\td\n", 1, "contains")
	f(dir, "\ufeffa\n\n", "yes\ta\nyes\t\n", 0, "contains")
	f(dir, "", "", 0, "contains")
	f(dir, "a\x00x\n\x00", "yes\ta\x00no\tx\n\x00", 1, "contains", "-z")
	f(dir, "61\r\n6162\n", "yes\t61\nno\t6162\n", 1, "contains", "--hex")
	f(dir, "a\na\nx\n", "forgotten\ta\nnot remembered\ta\nnot remembered\tx\n", 0, "forget")
	same(t, "after forget", must(t, strings.NewReader("a\n\n"), "filter", "--dir", dir), "a\n")

	dir = filled(t, "x,Ann,mon\nx,,tue\nx,Bob,\n", "--key", "csv:2,3", "-i", "--trim")
	f(dir, "ann\tMON\n\ttue\r\nbob\t\nann\ttue\n", "yes\tann\tMON\nyes\t\ttue\nyes\tbob\t\nno\tann\ttue\n", 1, "contains")
	if out := must(t, nil, "contains", dir, " ANN ", "mon"); out != "yes\n" {
		t.Fatalf("two fields: %q", out)
	}
	for _, args := range [][]string{{"contains", dir, "ann"}, {"contains", dir, "ann", "mon", "x"}, {"forget", dir, "ann"}} {
		if r := firstseen(t, nil, args...); r.code != 2 || !strings.Contains(r.err, `has 2 fields`) {
			t.Fatalf("%q: %+v", args, r)
		}
	}
	if r := firstseen(t, strings.NewReader("ann\tmon\nann\n"), "contains", dir, "-"); r.code != 2 || !strings.Contains(r.err, "record 2") {
		t.Fatalf("%+v", r)
	}

	var many, want strings.Builder
	for i := range 3 * listBatch {
		fmt.Fprintf(&many, "%d\n", i)
		fmt.Fprintf(&want, "%s\t%d\n", map[bool]string{true: "yes", false: "no"}[i%3 == 0], i)
	}
	dir = filled(t, many.String()+"x\n", "--key", "csv:1")
	var others strings.Builder
	for i := range 3 * listBatch {
		if i%3 != 0 {
			fmt.Fprintf(&others, "%d\n", i)
		}
	}
	must(t, strings.NewReader(others.String()), "forget", dir, "-")
	f(dir, many.String(), want.String(), 1, "contains")
}

// TestContainsWhileFiltering: the filter that has the directory open answers for what
// its output holds, also where the directory's path is too long for a socket's address.
func TestContainsWhileFiltering(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40), "seen")
	cmd := command(t, "filter", "--dir", dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	r := bufio.NewReader(stdout)
	for i := range 20 {
		// The second record comes out when the first one's batch is committed.
		for _, line := range []string{fmt.Sprintf("%d\n", i), fmt.Sprintf("next %d\n", i)} {
			if _, err := stdin.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
			if got, err := r.ReadString('\n'); err != nil || got != line {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if out := must(t, nil, "contains", dir, fmt.Sprint(i)); out != "yes\n" {
			t.Fatalf("record %d: %q", i, out)
		}
		if got := firstseen(t, nil, "contains", dir, fmt.Sprint(i+1)); got.out != "no\n" || got.code != 1 {
			t.Fatalf("record %d: %+v", i+1, got)
		}
	}
	list := strings.Repeat("1\nnever\n", 5*listBatch)
	if got := firstseen(t, strings.NewReader(list), "contains", dir, "-"); got.out != strings.Repeat("yes\t1\nno\tnever\n", 5*listBatch) || got.err != "" {
		t.Fatalf("a list: %.100q, %s", got.out, got.err)
	}
	if got := firstseen(t, nil, "forget", dir, "1"); got.code != 1 || !strings.Contains(got.err, "another process") {
		t.Fatalf("%+v", got)
	}

	// A killed one leaves its socket, behind which nobody is.
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	socket := filepath.Join(dir, askName)
	if _, err := os.Lstat(socket); err != nil {
		t.Fatal(err)
	}
	if out := must(t, nil, "contains", dir, "1"); out != "yes\n" {
		t.Fatalf("after the kill: %q", out)
	}
	must(t, strings.NewReader("1\n"), "filter", "--dir", dir)
	if _, err := os.Lstat(socket); err == nil {
		t.Fatal("the socket is still there")
	}
	if out := must(t, nil, "verify", dir); !strings.Contains(out, "sound") {
		t.Fatal(out)
	}
}
