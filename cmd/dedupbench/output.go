package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/firstseen/firstseen/bench"
)

// commandLine is what the report says it was made with.
func commandLine() string {
	return strings.Join(append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...), " ")
}

func writeFiles(r *bench.Report, json, html string) error {
	var errs []error
	if json != "" {
		errs = append(errs, writeFile(json, r.Write))
	}
	if html != "" {
		errs = append(errs, writeFile(html, r.WriteHTML))
	}
	return errors.Join(errs...)
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
