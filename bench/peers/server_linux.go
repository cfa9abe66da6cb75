package peers

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// isolate puts a process into a group of its own, so that Ctrl-C reaches only
// the benchmark, lets it die with the thread that started it, and, for root,
// which database servers refuse to be, runs it as the owner of dir.
func isolate(cmd *exec.Cmd, dir string) error {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		attr.Credential = &syscall.Credential{Uid: st.Uid, Gid: st.Gid}
	}
	cmd.SysProcAttr = attr
	return nil
}

// giveAway makes path the property of an unprivileged user, if we are root, and
// lets that user pass through dir.
func giveAway(dir, path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return fmt.Errorf("a server must not run as root, and there is no other user: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	for up := filepath.Dir(dir); up != filepath.Dir(up); up = filepath.Dir(up) {
		if info, err := os.Stat(up); err == nil && info.Mode()&0o001 == 0 {
			return fmt.Errorf("the server must not run as root, and user %s can't pass through %s", u.Username, up)
		}
	}
	return os.Chown(path, uid, gid)
}

func terminate(cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) }

// childrenOf lists the processes that the main thread of pid started.
func childrenOf(pid int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}
