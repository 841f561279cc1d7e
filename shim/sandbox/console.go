// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bufio"
	"context"
	"io"
	"strings"

	"github.com/containerd/log"
)

// maxLine bounds a line of the guest's console, in bytes.
const maxLine = 4096

// newConsole returns a writer whose lines go to the log.
func newConsole(ctx context.Context) io.WriteCloser {
	r, w := io.Pipe()
	logger := log.G(context.WithoutCancel(ctx)).WithField("component", "guest")
	go func() {
		in := bufio.NewReaderSize(r, maxLine)
		for {
			// Longer lines come in pieces.
			line, err := in.ReadSlice('\n')
			if text := strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "?"); text != "" {
				logger.Info(text)
			}
			if err != nil && err != bufio.ErrBufferFull {
				r.CloseWithError(err)
				return
			}
		}
	}()
	return w
}
