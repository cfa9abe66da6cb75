package sabotage

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOnlyTestsEnable reads the module's sources: nobody but tests may switch a
// fault on.
func TestOnlyTestsEnable(t *testing.T) {
	asked := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.Contains(string(b), "sabotage.Enable(") && !strings.HasSuffix(path, "_test.go") {
			t.Errorf("%s switches faults on", path)
		}
		if strings.Contains(string(b), "sabotage.On(") {
			asked[filepath.Base(filepath.Dir(path))] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) == 0 {
		t.Error("no fault is built in anywhere: the walk does not see the sources")
	}
}

func TestEnable(t *testing.T) {
	defer Enable(None)
	Enable(SkipFilterAdd)
	if !On(SkipFilterAdd) || On(AnswerEarly) {
		t.Error("another fault is on than the one enabled")
	}
	Enable(None)
	if On(SkipFilterAdd) {
		t.Error("still on")
	}
}
