// SPDX-License-Identifier: Apache-2.0

package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// loggerTimeout is how long a logging program has to get ready.
const loggerTimeout = 10 * time.Second

// logger is a program that gets the output as files 3 and 4 and closes file 5
// when it is ready (containerd, core/runtime/v2/README.md, "Logging").
type logger struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File
}

func startLogger(ctx context.Context, u *url.URL, id string) (_ *logger, err error) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	var args []string
	for k, values := range u.Query() {
		args = append(args, k)
		if len(values) > 0 && values[0] != "" {
			args = append(args, values[0])
		}
	}
	var files [3][2]*os.File // stdout, stderr, ready: reader, writer
	defer func() {
		files[0][0].Close()
		files[1][0].Close()
		files[2][0].Close()
		files[2][1].Close()
		if err != nil {
			files[0][1].Close()
			files[1][1].Close()
		}
	}()
	for i := range files {
		if files[i][0], files[i][1], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(u.Path, args...)
	cmd.Env = append(os.Environ(), "CONTAINER_ID="+id, "CONTAINER_NAMESPACE="+namespace)
	cmd.ExtraFiles = []*os.File{files[0][0], files[1][0], files[2][1]}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	files[2][1].Close()
	if err := files[2][0].SetReadDeadline(time.Now().Add(loggerTimeout)); err != nil {
		return nil, err
	}
	if _, err := files[2][0].Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("is not ready: %w", err)
	}
	return &logger{cmd: cmd, stdout: files[0][1], stderr: files[1][1]}, nil
}

// close lets the program see the end of the output and end by itself.
func (l *logger) close() {
	l.stdout.Close()
	l.stderr.Close()
	go func() { _ = l.cmd.Wait() }()
}
