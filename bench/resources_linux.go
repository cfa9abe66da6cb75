package bench

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
)

// ownMemory reads what is resident of this process.
func ownMemory() memory { return memoryOf("self") }

// ProcessMemory is the anonymous and shared resident memory of process pid in
// bytes, 0 when it can't be read.
func ProcessMemory(pid int) int64 { return memoryOf(strconv.Itoa(pid)).anonymous }

func memoryOf(pid string) memory {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return memory{}
	}
	var m memory
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for scanner.Scan() {
		fields := bytes.Fields(scanner.Bytes())
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		switch string(fields[0]) {
		case "RssAnon:", "RssShmem:":
			m.anonymous += kib << 10
		case "RssFile:":
			m.mapped += kib << 10
		}
	}
	return m
}
