// SPDX-License-Identifier: Apache-2.0

// Command runtimes exercises the Go runtime: goroutines on more threads than
// processors, the garbage collector, preemption, the loopback network, children.
package main

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	runtime.GOMAXPROCS(4)
	var wg sync.WaitGroup
	var sum atomic.Int64
	for i := range 1000 {
		wg.Go(func() {
			b := make([]byte, 20000)
			b[i] = 1
			for _, c := range b {
				sum.Add(int64(c))
			}
		})
	}
	wg.Wait()
	runtime.GC()
	fmt.Println("sum", sum.Load())

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	for range 20 {
		wg.Go(func() {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				panic(err)
			}
			go func() {
				c.Write(make([]byte, 100000))
				c.(*net.TCPConn).CloseWrite()
			}()
			b, _ := io.ReadAll(c)
			sum.Add(int64(len(b)))
		})
	}
	wg.Wait()
	fmt.Println("echoed", sum.Load())

	start := time.Now()
	time.Sleep(20 * time.Millisecond)
	fmt.Println("slept", time.Since(start) >= 20*time.Millisecond)

	// With one processor only a signal can end the loop.
	runtime.GOMAXPROCS(1)
	var stop atomic.Bool
	go stop.Store(true)
	for !stop.Load() {
	}
	out, err := exec.Command("echo", "child").Output()
	fmt.Printf("%s%v\n", out, err)
}
