package main

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// pipeSize is what a pipe holds on Linux: output that the kernel took and
// nobody read.
const pipeSize = 64 << 10

// distinct returns an input with repeated lines and what a filter makes of it.
func distinct(t *testing.T, n int) (in []byte, want string) {
	t.Helper()
	in = lines(10, n, 0.3, func(rng *rand.Rand, i int) string {
		return string(randomHex(rng, 16+rng.IntN(60))) + "\n"
	})
	return in, awk(t, in)
}

func randomHex(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[rng.IntN(16)]
	}
	return b
}

// piece finds where in want the output of a run stands, and checks that it is
// one whole piece of it that begins with a record.
func piece(t *testing.T, want, out string) (from, to int) {
	t.Helper()
	if out == "" {
		return -1, -1
	}
	head := out[:min(len(out), 200)]
	if i := strings.IndexByte(head, '\n'); i >= 0 {
		head = head[:i+1]
	}
	from = strings.Index(want, head)
	if from < 0 || from > 0 && want[from-1] != '\n' || !strings.HasPrefix(want[from:], out) {
		t.Fatalf("the output of a run, %d bytes that begin with %.80q, is no piece of what is to be written", len(out), out)
	}
	return from, from + len(out)
}

// TestFilterKilled kills runs over the same input at random points, and ends
// with one that is left alone. All records are written at least once; a run
// repeats at most the batch that the one before had not finished.
func TestFilterKilled(t *testing.T) {
	filterKilled(t, 60_000, 12, "--dir", filepath.Join(t.TempDir(), "seen"))
}

// filterKilled does that with a memory of keys that flags name.
func filterKilled(t *testing.T, records, kills int, flags ...string) {
	in, want := distinct(t, records)
	path := write(t, in)
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	written, lastFrom, killed := 0, 0, 0
	for run := 0; run <= kills; run++ {
		cmd := command(t, append(append([]string{"filter"}, flags...), path)...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if run < kills {
			// The process can be no further than what the pipe holds beyond this
			// point, so it dies somewhere in the next batch.
			_, _ = io.CopyN(&out, stdout, rng.Int64N(int64(len(want)/(kills+1))))
			_ = cmd.Process.Kill()
		}
		if _, err := io.Copy(&out, stdout); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			killed++
			if run == kills {
				t.Fatalf("the last run: %v\n%s", err, errs.String())
			}
		}
		from, to := piece(t, want, out.String())
		if from < 0 {
			continue
		}
		if from > written {
			t.Fatalf("run %d begins at byte %d, only %d were written: records are lost", run, from, written)
		}
		if repeated := want[from:max(written, from)]; strings.Count(repeated, "\n") > batchRecords || len(repeated) > 2*batchBytes {
			t.Fatalf("run %d repeats %d bytes, more than a batch", run, len(repeated))
		}
		if from < lastFrom {
			t.Fatalf("run %d begins at byte %d, an earlier one at %d: what was committed is forgotten", run, from, lastFrom)
		}
		written, lastFrom = max(written, to), from
	}
	if written != len(want) {
		t.Fatalf("%d bytes of %d were written", written, len(want))
	}
	if killed < kills/2 {
		t.Fatalf("only %d of %d runs were killed before their end: the input is too small", killed, kills)
	}
}

// TestFilterBrokenPipe: the reader goes away. The command ends quietly, and a
// second run writes all that the kernel had not taken.
func TestFilterBrokenPipe(t *testing.T) {
	in, want := distinct(t, 60_000)
	dir, path := filepath.Join(t.TempDir(), "seen"), write(t, in)
	cmd := command(t, "filter", "--dir", dir, path)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	head := make([]byte, 100)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if code := exitCode(t, cmd.Wait()); code != 0 || errs.Len() > 0 {
		t.Fatalf("exit code %d, %s", code, errs.String())
	}
	rest := must(t, nil, "filter", "--dir", dir, path)
	from, to := piece(t, want, rest)
	if from < 0 || to != len(want) || from > len(head)+pipeSize {
		t.Fatalf("the second run wrote bytes %d to %d of %d; at most %d can have been taken", from, to, len(want), len(head)+pipeSize)
	}
}

// TestFilterTemporary: no run leaves its directory behind.
func TestFilterTemporary(t *testing.T) {
	in, _ := distinct(t, 20_000)
	path := write(t, in)
	f := func(name string, end func(cmd *exec.Cmd, stdout io.ReadCloser), args ...string) {
		t.Helper()
		cmd := command(t, append([]string{"filter"}, args...)...)
		temp := t.TempDir()
		cmd.Env = append(cmd.Env, "TMPDIR="+temp)
		stdin, err := cmd.StdinPipe() // kept open
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		if _, err := io.WriteString(stdin, "a\n"); err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, err := r.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(temp); err != nil || len(entries) != 1 {
			t.Fatalf("%s: while it runs %s holds %v, %v", name, temp, entries, err)
		}
		end(cmd, r)
		_ = cmd.Wait()
		if entries, err := os.ReadDir(temp); err != nil || len(entries) != 0 {
			t.Fatalf("%s: left behind: %v, %v", name, entries, err)
		}
	}
	f("end", func(_ *exec.Cmd, r io.ReadCloser) { _, _ = io.Copy(io.Discard, r) }, path)
	f("broken pipe", func(_ *exec.Cmd, r io.ReadCloser) { r.Close() }, path)
	f("interrupt", func(cmd *exec.Cmd, _ io.ReadCloser) { _ = cmd.Process.Signal(syscall.SIGINT) })
	f("two signals while the reader stands still", func(cmd *exec.Cmd, r io.ReadCloser) {
		// The first is pending or handled when the second comes; either way two
		// different ones are both delivered.
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}, path)
}

// TestFilterFollows: lines come out while the input stays open, and Ctrl-C ends
// the run with all that was written remembered.
func TestFilterFollows(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		dir := filepath.Join(t.TempDir(), "seen")
		cmd := command(t, "filter", "--dir", dir, "--stats")
		var errs bytes.Buffer
		cmd.Stderr = &errs
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
		r := bufio.NewReader(stdout)
		for _, step := range []struct{ in, out string }{{"a\n", "a\n"}, {"a\nb\nunfini", "b\n"}, {"shed\n", "unfinished\n"}} {
			if _, err := io.WriteString(stdin, step.in); err != nil {
				t.Fatal(err)
			}
			if got, err := r.ReadString('\n'); err != nil || got != step.out {
				t.Fatalf("after %q: got %q, %v, want %q", step.in, got, err, step.out)
			}
		}
		// A second process can't have the directory now.
		if other := firstseen(t, strings.NewReader("a\n"), "filter", "--dir", dir); other.code != 1 || other.out != "" || !strings.Contains(other.err, "another process") {
			t.Fatalf("a second process: %+v", other)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
			t.Fatalf("at the end: %q, %v", rest, err)
		}
		if got := exitCode(t, cmd.Wait()); got != code {
			t.Fatalf("exit code %d, want %d; %s", got, code, errs.String())
		}
		stats, message, _ := strings.Cut(errs.String(), "\n")
		checkStats(t, stats+"\n", filterStats{Records: 4, Fresh: 3, Duplicates: 1, Bytes: 17})
		if !strings.Contains(message, "signal") {
			t.Fatalf("message %q", message)
		}
		stdin.Close()
		same(t, "the next run", must(t, strings.NewReader("a\nb\nunfinished\nc\n"), "filter", "--dir", dir), "c\n")
	}
}
