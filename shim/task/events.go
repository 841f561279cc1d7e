// SPDX-License-Identifier: Apache-2.0

package task

import (
	"context"
	"sync"

	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/log"
)

// events publishes in the order of send, without making the sender wait.
type events struct {
	publisher shim.Publisher
	rest      rest

	mu      sync.Mutex
	more    sync.Cond
	queue   []any
	closed  bool
	drained chan struct{}
}

func newEvents(ctx context.Context, p shim.Publisher) *events {
	e := &events{publisher: p, drained: make(chan struct{})}
	e.more.L = &e.mu
	go e.run(context.WithoutCancel(ctx))
	return e
}

func (e *events) send(event any) {
	e.rest.disturb()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, event)
	e.more.Signal()
}

func (e *events) run(ctx context.Context) {
	defer close(e.drained)
	for {
		e.mu.Lock()
		for len(e.queue) == 0 && !e.closed {
			e.more.Wait()
		}
		if len(e.queue) == 0 {
			e.mu.Unlock()
			return
		}
		event := e.queue[0]
		e.queue = e.queue[1:]
		e.mu.Unlock()
		if err := e.publisher.Publish(ctx, runtime.GetTopic(event), event); err != nil {
			log.G(ctx).WithError(err).Error("publish an event")
		}
	}
}

// close waits until everything has been published.
func (e *events) close() error {
	e.rest.stop()
	e.mu.Lock()
	e.closed = true
	e.more.Signal()
	e.mu.Unlock()
	<-e.drained
	return e.publisher.Close()
}
