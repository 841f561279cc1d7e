// SPDX-License-Identifier: Apache-2.0

package pager

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// run of frames that became free, and when.
type span struct {
	first, count uint64
	at           uint32
}

// due says whether the span is at least age old. The epoch may be older than it.
func (s *span) due(epoch, age uint32) bool { return int32(epoch-s.at) >= int32(age) }

// queue holds free frames until they are due, the oldest first. The guest
// decides how much there is, so it is bounded: what does not fit is found by a
// scan.
type queue struct {
	spans    []span // from head on
	head     int
	frames   uint64 // in spans, some of them more than once
	overflow atomic.Bool
}

const (
	queueMax = 1 << 16
	// dueMax is how many spans are due at a time: to sort those of a burst at
	// once takes milliseconds, of a processor that the guest may be waiting for.
	dueMax = 512
)

func (q *queue) len() int { return len(q.spans) - q.head }

func (q *queue) empty() bool { return q.len() == 0 }

// shrink gives the memory of an empty queue back: many cells are idle.
func (q *queue) shrink() {
	const small = 64
	if cap(q.spans) > small {
		q.spans, q.head = nil, 0
	}
}

func (q *queue) add(first, count uint64, at uint32) {
	if !q.empty() {
		last := &q.spans[len(q.spans)-1]
		if last.at == at && last.first+last.count == first {
			last.count += count
			q.frames += count
			return
		}
		if last.at == at && first+count == last.first {
			last.first, last.count = first, last.count+count
			q.frames += count
			return
		}
	}
	if q.len() >= queueMax {
		q.overflow.Store(true)
		return
	}
	q.spans = append(q.spans, span{first, count, at})
	q.frames += count
}

// waits says whether something is at least age old.
func (q *queue) waits(epoch, age uint32) bool {
	return !q.empty() && q.spans[q.head].due(epoch, age)
}

// take takes out some of what is at least age old, at most so many spans. The
// result is valid until something is added.
func (q *queue) take(epoch, age uint32, most int) []span {
	n := 0
	for most = min(most, q.len()); n < most && q.spans[q.head+n].due(epoch, age); {
		q.frames -= q.spans[q.head+n].count
		n++
	}
	out := q.spans[q.head : q.head+n]
	q.head += n
	return out
}

// drop forgets what is at least age old.
func (q *queue) drop(epoch, age uint32) {
	q.take(epoch, age, q.len())
	q.trim()
}

// trim gives the place of what has been taken out to what will be added.
func (q *queue) trim() {
	if 2*q.head >= len(q.spans) {
		q.spans = slices.Delete(q.spans, 0, q.head)
		q.head = 0
	}
}

// due takes out some of what is at least age old, at most so many spans, in the
// order of memory, neighbours joined, and says how many spans that were.
func (q *queue) due(epoch, age uint32, most int) (joined []span, n int) {
	out := slices.Clone(q.take(epoch, age, min(most, dueMax)))
	q.trim()
	if len(out) == 0 {
		return nil, 0
	}
	slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	joined = out[:1]
	for _, s := range out[1:] {
		last := &joined[len(joined)-1]
		if s.first <= last.first+last.count {
			last.count = max(last.count, s.first+s.count-last.first)
			continue
		}
		joined = append(joined, s)
	}
	return joined, len(out)
}
