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

	"golang.org/x/sys/unix"

	"github.com/containerd/containerd/v2/pkg/namespaces"
)

const (
	// loggerTimeout is how long a logging program has to get ready.
	loggerTimeout = 10 * time.Second
	// loggerEnd is how long one has to end after the output has, and then
	// again loggerTerm after it was asked to.
	loggerEnd  = 10 * time.Second
	loggerTerm = 2 * time.Second
)

// Schemes of logging programs. The second one has to say that it is ready with
// a byte; the end of file 5 is not enough.
const (
	schemeBinary  = "binary"
	schemeBinary2 = "binary-v2"
)

// logger is a program that gets the output as files 3 and 4 and closes file 5
// when it is ready (containerd, core/runtime/v2/README.md, "Logging").
type logger struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File
	ended          chan struct{}
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
	l := &logger{cmd: cmd, stdout: files[0][1], stderr: files[1][1], ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(l.ended)
	}()
	if err := ready(files[2][0], u.Scheme); err != nil {
		_ = cmd.Process.Kill()
		<-l.ended
		return nil, err
	}
	return l, nil
}

// ready waits until the program has said that it is.
func ready(f *os.File, scheme string) error {
	if err := f.SetReadDeadline(time.Now().Add(loggerTimeout)); err != nil {
		return err
	}
	n, err := f.Read(make([]byte, 1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("did not close file 5 within %s", loggerTimeout)
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case n == 0 && scheme == schemeBinary2:
		return errors.New("ended before it wrote to file 5 that it is ready")
	}
	return nil
}

// close lets the program see the end of the output.
func (l *logger) close() {
	l.stdout.Close()
	l.stderr.Close()
}

// end waits until the program has written what it got and ends it if it does not
// end by itself.
func (l *logger) end() {
	l.close()
	for _, step := range []struct {
		limit  time.Duration
		signal unix.Signal
	}{{loggerEnd, unix.SIGTERM}, {loggerTerm, unix.SIGKILL}} {
		select {
		case <-l.ended:
			return
		case <-time.After(step.limit):
			_ = l.cmd.Process.Signal(step.signal)
		}
	}
	<-l.ended
}
