// SPDX-License-Identifier: Apache-2.0

package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/console"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fakeVariable makes the test binary behave like crun, and its value says which
// part of it.
const fakeVariable = "PARACELL_FAKE_CRUN"

func TestMain(m *testing.M) {
	switch os.Getenv(fakeVariable) {
	case "":
		// What the fake crun leaves behind becomes this process's child.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Setenv(fakeVariable, "crun")
		os.Exit(m.Run())
	case "crun":
		if err := fakeCrun(os.Args[1:]); err != nil {
			os.Exit(1)
		}
	case "init":
		fmt.Fprintln(os.Stderr, fakeInit(os.Args[1], os.Args[2:]))
		os.Exit(1)
	}
}

// fakeCrun makes processes without namespaces. It logs its error like crun.
func fakeCrun(args []string) (err error) {
	flags := map[string]string{}
	var words []string
	for i := 0; i < len(args); i++ {
		name, value, ok := strings.Cut(args[i], "=")
		switch {
		case !strings.HasPrefix(name, "-"):
			words = append(words, name)
		case ok || name == "--detach" || name == "--no-new-keyring" || name == "--force":
			flags[name] = value
		default:
			i++
			flags[name] = args[i]
		}
	}
	defer func() {
		if err != nil {
			b, _ := json.Marshal(map[string]string{"level": "error", "msg": err.Error()})
			_ = os.WriteFile(flags["--log"], append(b, '\n'), 0o600)
		}
	}()
	if len(words) < 2 {
		return fmt.Errorf("arguments %q", args)
	}
	id := words[1]
	top := filepath.Dir(flags["--root"]) // RunDir
	start, group := filepath.Join(top, id+".start"), filepath.Join(top, "cgroup", id)
	switch words[0] {
	case "create":
		var spec specs.Spec
		if err := readJSON(filepath.Join(flags["--bundle"], "config.json"), &spec); err != nil {
			return err
		}
		if spec.Process.Args[0] == "refuse" {
			return errors.New("executable file `refuse` not found")
		}
		if err := errors.Join(os.MkdirAll(group, 0o700), unix.Mkfifo(start, 0o600),
			os.WriteFile(filepath.Join(group, "memory.events"), []byte("oom_kill 0\n"), 0o600)); err != nil {
			return err
		}
		return fakeProcess(flags, group, "init", append([]string{start}, spec.Process.Args...))
	case "start":
		return os.WriteFile(start, []byte("x"), 0)
	case "exec":
		var p specs.Process
		if err := readJSON(flags["--process"], &p); err != nil {
			return err
		}
		if p.Args[0] == "refuse" {
			return errors.New("executable file `refuse` not found")
		}
		return fakeProcess(flags, group, "init", append([]string{"-"}, p.Args...))
	case "update":
		b, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(group, "updated"), b, 0o600)
	case "delete":
		return errors.Join(os.RemoveAll(group), os.Remove(start))
	}
	return fmt.Errorf("command %s", words[0])
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// fakeProcess starts this program again, which becomes the process, and leaves.
func fakeProcess(flags map[string]string, group, part string, args []string) error {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), fakeVariable+"="+part)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if path := flags["--console-socket"]; path != "" {
		master, name, err := console.NewPty()
		if err != nil {
			return err
		}
		tty, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		conn, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		if _, _, err := conn.(*net.UnixConn).WriteMsgUnix([]byte(name), unix.UnixRights(int(master.Fd())), nil); err != nil {
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := []byte(strconv.Itoa(cmd.Process.Pid))
	procs, err := os.OpenFile(filepath.Join(group, "cgroup.procs"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	fmt.Fprintf(procs, "%s\n", pid)
	return errors.Join(procs.Close(), os.WriteFile(flags["--pid-file"], pid, 0o600))
}

// fakeInit waits for start, if there is something to wait for, and becomes the
// program.
func fakeInit(start string, args []string) error {
	if start != "-" {
		if _, err := os.ReadFile(start); err != nil {
			return err
		}
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return unix.Exec(path, args, os.Environ())
}
