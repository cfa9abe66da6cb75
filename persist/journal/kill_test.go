//go:build unix

package journal_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/firstseen/firstseen/persist/journal"
)

// The child's orders: where the journal is, its mode, where to replay from and
// the number of the first frame to append.
const (
	killPath = "FIRSTSEEN_KILL_PATH"
	killArgs = "FIRSTSEEN_KILL_ARGS"
)

// TestJournalKill kills a child that appends in the middle of its work: what it
// told its parent's pipe to be acknowledged is there, in every mode.
func TestJournalKill(t *testing.T) {
	if path := os.Getenv(killPath); path != "" {
		fmt.Println(killChild(path, os.Getenv(killArgs)))
		os.Exit(1)
	}
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			c := journal.Config{Path: filepath.Join(t.TempDir(), "journal"), RingBytes: 1 << 20, Sync: m.mode}
			j := openJournal(t, c)
			mustReplay(t, j, 0)
			_ = j.Close(true)
			var from journal.Pos
			next := int64(0) // a frame's number is its Time
			for round := range 5 {
				acked := runKilled(t, c, from, next, 50+97*round)
				j := openJournal(t, c)
				got, r := mustReplay(t, j, from)
				for i, f := range got {
					if f.Time != next+int64(i) {
						t.Fatalf("round %d: frame %d has number %d, want %d", round, i, f.Time, next+int64(i))
					}
				}
				next += int64(len(got))
				if r.Clean || r.PowerLoss || next <= acked {
					t.Fatalf("round %d: frames below %d, acknowledged was %d; %+v", round, next, acked, r)
				}
				from = r.End
				_ = j.Close(false)
			}
		})
	}
}

// runKilled lets a child append until it has acknowledged some frames, kills it
// and returns the last number that it acknowledged.
func runKilled(t *testing.T, c journal.Config, from journal.Pos, next int64, after int) int64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestJournalKill$")
	cmd.Env = append(os.Environ(), killPath+"="+c.Path, fmt.Sprintf("%s=%d %d %d", killArgs, c.Sync, from, next))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := int64(-1)
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		v, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		acked = v
		if n == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	return acked
}

// killChild appends numbered frames for ever and prints each number once it is
// acknowledged.
func killChild(path, args string) error {
	var mode uint8
	var from, next uint64
	if _, err := fmt.Sscan(args, &mode, &from, &next); err != nil {
		return err
	}
	j, err := journal.Open(journal.Config{Path: path, Sync: journal.SyncMode(mode)})
	if err != nil {
		return err
	}
	if _, err := j.Replay(from, func(*journal.Frame) error { return nil }); err != nil {
		return err
	}
	for ; ; next++ {
		// Some small enough for the mapping, some not.
		f := journal.Frame{Kind: journal.KindMark, Time: int64(next), Payload: make([]byte, next*37%3000)}
		if err := appendWait(j, &f); err != nil {
			return err
		}
		fmt.Println(next)
	}
}
