# SPDX-License-Identifier: Apache-2.0
# Threads, children, shared memory, sockets, signals.
import hashlib
import mmap
import os
import signal
import socket
import subprocess
import threading
import time

sums = []


def work(i):
    sums.append(sum(j * i for j in range(20000)))


threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print("threads", sum(sums))

print("output", subprocess.check_output(["echo", "x"]))
children = [subprocess.Popen(["sh", "-c", "exit %d" % i]) for i in range(10)]
print("statuses", [c.wait() for c in children])

shared = mmap.mmap(-1, 1 << 20)
shared[5:10] = b"mother"[:5]
pid = os.fork()
if pid == 0:
    shared[0:5] = b"child"
    os._exit(3)
print("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shared[:10])

a, b = socket.socketpair()
a.send(b"x" * 1000)
print("socket", len(b.recv(2000)))

ticks = []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
end = time.monotonic() + 5
while len(ticks) < 5 and time.monotonic() < end:
    pass
signal.setitimer(signal.ITIMER_REAL, 0)
print("ticks", len(ticks) >= 5)
print("digest", hashlib.sha256(b"abc" * 100000).hexdigest())
