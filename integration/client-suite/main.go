// SPDX-License-Identifier: Apache-2.0

// Client-suite runs containerd's own client integration tests
// (integration/client of its module) with cells and with runc, and prints what
// passes as a Markdown table. Each run has mounts and processes of its own, so
// that nothing is left. It needs a built tree, root, and runs from the top:
//
//	go run ./integration/client-suite [-run REGEXP] [-runtimes runc,cell] [-o docs/client-suite.md]
//
// A test that passes with runc and not with cells has to be in reasons.txt,
// else the program fails.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/paracell/paracell/integration/containerd/instance"
	"github.com/paracell/paracell/integration/tools"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/process"
)

// runtimes are containerd's names of what can be tested.
var runtimes = map[string]string{"runc": "io.containerd.runc.v2", "cell": instance.Runtime}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "client-suite:", err)
		os.Exit(1)
	}
}

func run() error {
	pattern := flag.String("run", ".", "tests to run")
	list := flag.String("runtimes", "runc,cell", "runtimes, in this order")
	out := flag.String("o", "", "`file` that gets the table; standard output if empty")
	logs := flag.String("logs", "", "`folder` that gets the full output")
	patience := flag.Duration("timeout", 15*time.Minute, "most time of one runtime")
	count := flag.Int("count", 1, "how often each test is run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := prepare(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	all := map[string]results{}
	labels := strings.Split(*list, ",")
	for _, l := range labels {
		if runtimes[l] == "" {
			return fmt.Errorf("runtime %q is not known", l)
		}
		fmt.Fprintf(os.Stderr, "running the tests with %s\n", l)
		begin := time.Now()
		text, err := s.test(ctx, l, *pattern, *count, *patience)
		if *logs != "" {
			if err := os.WriteFile(filepath.Join(*logs, l+".log"), text, 0o644); err != nil {
				return err
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
		all[l] = parse(text)
		fmt.Fprintf(os.Stderr, "%s: %s in %.0f s\n", l, all[l].summary(), time.Since(begin).Seconds())
	}
	table, unexplained, err := report(labels, all)
	if err != nil {
		return err
	}
	if *out == "" {
		_, err = os.Stdout.WriteString(table)
	} else {
		err = os.WriteFile(*out, []byte(table), 0o644)
	}
	if len(unexplained) > 0 {
		err = errors.Join(err, fmt.Errorf("differences without a reason in reasons.txt: %s", strings.Join(unexplained, ", ")))
	}
	return err
}

// suite is what a run needs.
type suite struct {
	binary   string // the tests
	env      []string
	registry *registry
	dir      string
}

func prepare(ctx context.Context) (_ *suite, err error) {
	top, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	s := &suite{}
	if s.dir, err = os.MkdirTemp("", "client-suite-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.registry, err = serve(ctx); err != nil {
		return nil, err
	}
	path := []string{filepath.Join(top, "bin")}
	for _, name := range []string{"containerd", "ctr", "containerd-shim-runc-v2", "runc"} {
		program, err := tools.Build(ctx, os.Stderr, name)
		if err != nil {
			return nil, err
		}
		path = append(path, filepath.Dir(program))
	}
	built, err := build(ctx)
	if err != nil {
		return nil, err
	}
	s.binary = filepath.Join(built, "client.test")
	isolation := platform.IsolationNone
	if process.New().Probe().Err(platform.IsolationMPK) == nil {
		isolation = platform.IsolationMPK
	}
	config := filepath.Join(s.dir, "paracell.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "isolation = %q\n", isolation), 0o600); err != nil {
		return nil, err
	}
	s.env = append(os.Environ(), "PATH="+strings.Join(append(path, built, os.Getenv("PATH")), ":"),
		"PARACELL_CONFIG="+config, registryVariable+"="+s.registry.address, digestVariable+"="+s.registry.digest)
	return s, nil
}

func (s *suite) close() {
	if s.registry != nil {
		s.registry.close()
	}
	_ = os.RemoveAll(s.dir)
}

// Variables that the tests get the names of their images from.
const (
	registryVariable = "PARACELL_TEST_REGISTRY"
	digestVariable   = "PARACELL_TEST_DIGEST"
)

// build compiles the tests, with the images of the registry instead of those
// of the network, once per machine and version, and returns their folder.
func build(ctx context.Context) (string, error) {
	dir := filepath.Join(tools.Cache(), "client-suite", tools.Containerd)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := tools.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, "client.test")); err == nil {
		return dir, nil
	}
	fmt.Fprintln(os.Stderr, "building the tests of containerd", tools.Containerd)
	source := filepath.Join(dir, "source")
	if err := os.RemoveAll(source); err != nil {
		return "", err
	}
	module := "github.com/containerd/containerd/v2@" + tools.Containerd
	where, err := command(ctx, dir, "go", "mod", "download", "-json", module)
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(where, `"Dir": "`)
	original, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return "", fmt.Errorf("go mod download %s says nothing of a folder: %s", module, where)
	}
	if err := os.CopyFS(source, os.DirFS(original)); err != nil {
		return "", err
	}
	if err := useRegistry(source); err != nil {
		return "", err
	}
	for out, pkg := range map[string]string{"runc-fp": "./integration/failpoint/cmd/runc-fp", "client.test": "./integration/client"} {
		args := []string{"build", "-o", filepath.Join(dir, out), pkg}
		if out == "client.test" {
			args = []string{"test", "-c", "-o", filepath.Join(dir, out+".new"), pkg}
		}
		if _, err := command(ctx, source, "go", args...); err != nil {
			return "", err
		}
	}
	return dir, os.Rename(filepath.Join(dir, "client.test.new"), filepath.Join(dir, "client.test"))
}

func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errOut
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false -modcacherw -mod=mod")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, errOut.String())
	}
	return out.String(), nil
}

// useRegistry changes the list of images: it is read before flags are.
func useRegistry(source string) error {
	file := filepath.Join(source, "integration/images/image_list.go")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(b)
	for _, c := range []struct{ from, to string }{
		{`"ghcr.io/containerd/busybox:1.36"`, `os.Getenv("` + registryVariable + `") + "/busybox:1.36"`},
		{`"ghcr.io/containerd/busybox@sha256:7b3ccabffc97de872a30dfd234fd972a66d247c8cfc69b0550f276481852627c"`,
			`os.Getenv("` + registryVariable + `") + "/busybox@" + os.Getenv("` + digestVariable + `")`},
		{`"ghcr.io/containerd/volume-copy-up:2.2"`, `os.Getenv("` + registryVariable + `") + "/layers:1"`},
	} {
		if !strings.Contains(text, c.from) {
			return fmt.Errorf("%s does not name the image %s any more", file, c.from)
		}
		text = strings.ReplaceAll(text, c.from, c.to)
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// private runs a command with mounts and processes of its own, which end with
// it, and a folder where the tests keep their files.
const private = `set -e
mkdir -p /var/lib/containerd-test
mount --bind "$1" /var/lib
mkdir -p /var/lib/containerd-test
shift
exec "$@"
`

// test runs the tests with a runtime and returns their output.
func (s *suite) test(ctx context.Context, label, pattern string, count int, patience time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+time.Minute)
	defer cancel()
	files, err := os.MkdirTemp(tools.Cache(), "client-suite-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(files)
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", private, "sh", files,
		s.binary, "-test.v", "-test.root", "-no-criu", "-test.parallel", "2", "-test.run", pattern, "-test.skip", skipped(label), "-test.count", strconv.Itoa(count),
		"-test.timeout", patience.String())
	cmd.Dir = filepath.Join(filepath.Dir(s.binary), "source/integration/client")
	cmd.Env = append(s.env, "TEST_RUNTIME="+runtimes[label])
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil || errors.Is(err, exec.ErrWaitDelay) {
		err = nil // tests fail
	}
	if err == nil && !bytes.Contains(out.Bytes(), []byte("--- ")) {
		_, _ = io.Copy(os.Stderr, bytes.NewReader(out.Bytes()[max(0, out.Len()-4000):]))
		err = errors.New("no test has run")
	}
	return out.Bytes(), err
}
